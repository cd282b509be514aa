"""Tools of the checkout: a real cluster, images, setup, the demo, the tiers of tests.

Imported before any of them by the system's Python, which may be older than the 3.11 they need:
nothing here is newer than Python 3.6.
"""

import sys

if sys.version_info < (3, 11):  # noqa: UP036  # the system's Python may be older than ours
    found = ".".join(str(part) for part in sys.version_info[:3])
    sys.exit(
        f"{sys.executable} is Python {found}; Mens needs 3.11 or newer.\n"
        "fix: install one and name it, for instance `make test PYTHON=python3.11`"
    )
