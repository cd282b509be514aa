"""`python -m mens_server`."""

from __future__ import annotations

import os
import sys

from mens_server import running

if __name__ == "__main__":
    sys.exit(running.main(sys.argv[1:], os.environ))
