"""Converting the errors that libraries raise over a bad input."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator

from mens.runtime import errors
from mens_trainer import memory


@contextlib.contextmanager
def convert(
    make_error: Callable[[str], errors.InvalidInputError], *passthrough: type[Exception]
) -> Iterator[None]:
    """Convert any error that a library raises over an input into an `InvalidInputError`.

    Over a bad file, libraries raise ZeroDivisionError as well as AttributeError or, out of Rust, a
    plain Exception. Not converted: out-of-memory errors, which are not the input's fault, and
    `JobError`.

    Args:
        make_error: Makes the error from the library's error text.
        passthrough: Errors that do not concern the input here.
    """
    try:
        yield
    except Exception as e:
        if isinstance(e, (errors.JobError, *passthrough)) or memory.is_out_of_memory(e):
            raise
        raise make_error(f"{type(e).__name__}: {' '.join(str(e).split())[:300]}") from e
