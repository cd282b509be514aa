"""The process of a pod: reading MENS_JOB, SIGTERM, the exit code."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from mens.api import reasons
from mens.runtime import errors, jobs, process, termination

DONE = jobs.Termination(reason=reasons.SUCCEEDED, message="done")


@pytest.fixture(autouse=True)
def restore_sigterm() -> Iterator[None]:
    """`process.run` leaves SIGTERM ignored, as the process exits next."""
    before = signal.getsignal(signal.SIGTERM)
    yield
    signal.signal(signal.SIGTERM, before)


def test_missing_job_names_the_variable_and_the_command() -> None:
    """A person who starts the module by hand learns which command to use."""
    with pytest.raises(errors.InvalidInputError, match=r"MENS_JOB is not set.*: mens train$") as e:
        process.read_job(jobs.TrainJob, {}, command="mens train")
    assert e.value.reason == reasons.SPEC_INVALID
    with pytest.raises(errors.InvalidInputError, match=r"sets it to a ServeJob$"):
        process.read_job(jobs.ServeJob, {})


def test_unreadable_job_names_the_field() -> None:
    """The message names the first invalid field and the likely cause."""
    with pytest.raises(
        errors.InvalidInputError, match=r"^MENS_JOB: resource: Field required; operator and image"
    ) as e:
        process.read_job(jobs.ServeJob, {jobs.JOB_ENV: "{}"})
    assert e.value.exit_code == jobs.ExitCode.INVALID_INPUT


def test_image_is_local_outside_a_container() -> None:
    """The manifest names the image that produced an artifact."""
    assert process.image({jobs.IMAGE_ENV: "mens-trainer:1"}) == "mens-trainer:1"
    assert process.image({}) == "local"


def test_run_returns_the_exit_code_and_writes_the_message(tmp_path: Path) -> None:
    """The outcome of the work is the exit code of the process."""
    path = tmp_path / "termination"
    environ = {jobs.TERMINATION_ENV: str(path)}
    assert process.run(lambda: (jobs.ExitCode.STORAGE_ERROR, DONE), environ) == 75
    assert jobs.Termination.model_validate_json(path.read_bytes()) == DONE


def test_sigterm_interrupts_the_work_once() -> None:
    """A second SIGTERM does not interrupt the clean-up after the first."""
    cleaned = []

    def work() -> termination.Outcome:
        try:
            os.kill(os.getpid(), signal.SIGTERM)
        except termination.Preempted:
            os.kill(os.getpid(), signal.SIGTERM)
            cleaned.append(True)
        return jobs.ExitCode.PREEMPTED, DONE

    assert process.run(work, {}) == jobs.ExitCode.PREEMPTED
    assert cleaned == [True]
