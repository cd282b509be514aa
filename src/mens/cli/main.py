"""Entry point of the `mens` command.

Sub-commands of other packages come by the entry point group `mens.commands`: each entry names a
function `register(subparsers)` that adds a parser with `set_defaults(run=function)`, where
`function(args)` returns the exit code. `args.open_store()` gives the object store.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from importlib import metadata
from typing import Any, Final

from mens.artifacts import errors, store
from mens.cli import artifact, lineage, model, output

GROUP: Final = "mens.commands"
"""Entry point group of sub-commands of other packages."""
INPUT_WRONG: Final = 64
"""Exit code: somebody must change an input; the same as that of jobs."""
STORAGE_TROUBLE: Final = 75
"""Exit code: storage or network; trying again may help."""
INTERRUPTED: Final = 130
"""Exit code after Ctrl-C, as shells expect it."""

EPILOG: Final = """\
environment variables that configure the storage, as in a pod:
  MENS_S3_ENDPOINT    URL of the S3 server (unset: AWS)
  MENS_S3_REGION      region (us-east-1)
  MENS_S3_PATH_STYLE  true or false (true with an endpoint)
  MENS_S3_CA_BUNDLE   file with certificates to trust
  AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_SESSION_TOKEN, or a web identity

exit codes: 0 success, 2 invalid usage, 64 invalid input, 75 storage or network error
"""


def main(
    argv: Sequence[str] | None = None,
    *,
    environ: Mapping[str, str] | None = None,
    open_store: Callable[[], store.ObjectStore] | None = None,
) -> int:
    """Run one command and return its exit code; store and environment come in for tests."""
    environ = os.environ if environ is None else environ
    parser = build_parser(with_plugins=open_store is None)
    args = parser.parse_args(argv)
    args.open_store = open_store or (lambda: _from_env(environ))
    try:
        code: int = args.run(args)
    except errors.StoreError as e:
        output.failure(e.reason, str(e), as_json=getattr(args, "json", False))
        return STORAGE_TROUBLE if e.transient else INPUT_WRONG
    except KeyboardInterrupt:
        output.note(
            "interrupted; nothing that was begun is visible, and the command can be repeated"
        )
        return INTERRUPTED
    except BrokenPipeError:
        # The reader of our output went away; Python would complain once more while closing it.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    return code


def build_parser(*, with_plugins: bool = True) -> argparse.ArgumentParser:
    """The parser with our own sub-commands and those of installed packages."""
    parser = argparse.ArgumentParser(
        prog="mens",
        description="Work with Mens artifacts: base models, corpora and adapters in S3.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"mens {output.version()}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for module in (artifact, lineage, model):
        module.register(commands)
    if with_plugins:
        _register_plugins(commands)
    return parser


def _register_plugins(commands: Any) -> None:
    for entry in sorted(metadata.entry_points(group=GROUP), key=lambda entry: entry.name):
        try:
            register = entry.load()
        except ImportError:
            # The package belongs to an extra that is not installed here.
            continue
        try:
            register(commands)
        except argparse.ArgumentError as e:
            output.note(f"sub-command {entry.name!r} of {entry.value} is left out: {e}")


def _from_env(environ: Mapping[str, str]) -> store.ObjectStore:
    from mens.artifacts import s3  # noqa: PLC0415  # boto3 takes 0.3 s that --help need not wait

    return s3.from_env(environ)


if __name__ == "__main__":
    raise SystemExit(main())
