"""Every exception of a job becomes an exit code, a reason and a termination message."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest

from mens.api import reasons
from mens.artifacts import digests, refs
from mens.artifacts import errors as store_errors
from mens.runtime import errors, jobs, termination

ARTIFACT = refs.ArtifactRef(
    uri=refs.Uri.parse("s3://bucket/run"), digest=digests.Digest.of_bytes(b"manifest")
)


def outcome_of(error: BaseException) -> termination.Outcome:
    """Return the outcome of work that raises this error."""

    def work() -> tuple[refs.ArtifactRef, str]:
        raise error

    return termination.outcome_of(work, preempted="the job starts again")


def test_success_reports_the_artifact() -> None:
    """Exit code 0, reason Succeeded, and the artifact with its message."""
    code, message = termination.outcome_of(lambda: (ARTIFACT, "done"), preempted="")
    assert code == 0
    assert message == jobs.Termination(reason=reasons.SUCCEEDED, message="done", artifact=ARTIFACT)


@pytest.mark.parametrize(
    ("error", "code", "reason"),
    [
        (errors.JobError(reasons.DIVERGED, "m"), 70, reasons.DIVERGED),
        (errors.InvalidInputError(reasons.SPEC_INVALID, "m"), 64, reasons.SPEC_INVALID),
        (errors.StorageError(reasons.STORAGE_DENIED, "m"), 75, reasons.STORAGE_DENIED),
        (errors.OutOfMemoryError("m"), 71, reasons.OUT_OF_MEMORY),
        (store_errors.StoreUnreachable("m"), 75, reasons.STORAGE_UNREACHABLE),
        (store_errors.DigestMismatch("m"), 64, reasons.DIGEST_MISMATCH),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else str(value),
)
def test_known_errors_keep_their_reason_and_message(
    error: Exception, code: int, reason: str
) -> None:
    """A job error has the exit code of its class; a store error, by whether it is transient."""
    assert outcome_of(error) == (code, jobs.Termination(reason=reason, message="m"))


def test_preemption_has_its_own_exit_code_and_message() -> None:
    """SIGTERM does not count as an attempt, so its exit code is that of the signal."""
    expected = jobs.Termination(reason=reasons.PREEMPTED, message="the job starts again")
    assert outcome_of(termination.Preempted()) == (143, expected)


def test_defect_reports_its_type_and_place_without_its_text() -> None:
    """The text of a foreign error may hold a credential; it goes only into the log."""
    code, message = outcome_of(KeyError("hunter2"))
    assert (code, message.reason) == (70, reasons.INTERNAL_ERROR)
    assert message.message.startswith("KeyError at test_termination.py:")
    assert "hunter2" not in message.message


def test_full_scratch_volume_names_the_field_to_raise() -> None:
    """ENOSPC is the user's setting and not a defect to report."""
    _, message = outcome_of(OSError(errno.ENOSPC, "No space left on device"))
    assert message.message == "the scratch volume is full; raise spec.resources.scratch"


def test_write_leaves_the_message_where_the_environment_names_it(tmp_path: Path) -> None:
    """Without the variable nothing is written; a path that cannot be written is not an error."""
    message = jobs.Termination(reason=reasons.SUCCEEDED, message="done")
    path = tmp_path / "termination"
    termination.write(message, {jobs.TERMINATION_ENV: str(path)})
    assert jobs.Termination.model_validate_json(path.read_bytes()) == message
    termination.write(message, {})
    termination.write(message, {jobs.TERMINATION_ENV: str(tmp_path / "missing" / "file")})


@pytest.mark.parametrize("character", ["x", "é", "\x01"])
def test_long_message_is_truncated_to_the_limit(character: str) -> None:
    """The kubelet would cut the JSON in the middle."""
    message = jobs.Termination(reason="R", message=character * 10_000)
    assert len(message.to_log()) <= jobs.TERMINATION_LIMIT
    assert jobs.Termination.model_validate_json(message.to_log()).message.endswith("…")
