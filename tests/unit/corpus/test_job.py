"""The job of a pod: exit code, termination message, and a complete artifact or none."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import orjson
import pytest

from mens.api import reasons
from mens.artifacts import errors as store_errors
from mens.artifacts import layout, manifests, reader, refs, s3, store
from mens.runtime import jobs
from mens_corpus import job, jsonl
from tests.support import memory_store
from tests.support.s3 import S3Server

LICENSE = (Path(__file__).parents[3] / "LICENSE").read_bytes()
OUTPUT = "s3://bucket/corpora/uid/key"


def documents(count: int = 3) -> dict[str, bytes]:
    """A license file and some Python modules."""
    code = 'def f{0}(a, *, b=None):\n    """Do number {0}."""\n    return a or b or {0}\n'
    return {"LICENSE": LICENSE} | {f"m{n}.py": code.format(n).encode() for n in range(count)}


def upload_documents(objects: store.ObjectStore, bucket: str = "bucket") -> None:
    for name, data in documents().items():
        objects.put_bytes(refs.Uri(bucket, f"sources/code/{name}"), data)


def environ(tmp_path: Path, *, bucket: str = "bucket", **source: Any) -> dict[str, str]:
    """The environment that the operator sets."""
    folder = {"uri": f"s3://{bucket}/sources/code/"}
    given = {"name": "code", "s3": folder, "extract": ["PythonFunctions"]} | source
    job = {
        "resource": {"namespace": "n", "name": "demo", "uid": "uid", "generation": 1},
        "spec": {"sources": [given]},
        "attempt": 3,
        "output": OUTPUT.replace("bucket", bucket, 1),
    }
    return {
        jobs.JOB_ENV: json.dumps(job),
        jobs.SCRATCH_ENV: str(tmp_path),
        jobs.TERMINATION_ENV: str(tmp_path / "termination"),
    }


@pytest.fixture
def objects() -> memory_store.MemoryStore:
    found = memory_store.MemoryStore(["bucket"])
    upload_documents(found)
    return found


def test_job_publishes_a_corpus(tmp_path: Path, objects: memory_store.MemoryStore) -> None:
    """Exit code 0, the artifact in the termination message, and progress in the output folder."""
    code, termination = job.run(environ(tmp_path), lambda _: objects)
    assert (code, termination.reason) == (jobs.ExitCode.SUCCEEDED, reasons.SUCCEEDED)
    assert termination.artifact is not None
    manifest = reader.fetch(objects, termination.artifact, tmp_path / "into")
    assert manifest.details["rows"] == {"train": 2, "validation": 1}
    assert sorted(file.path for file in manifest.files) == [
        "LICENSES/Apache-2.0.txt",
        "NOTICE",
        "quarantine.jsonl.zst",
        "train.jsonl.zst",
        "validation.jsonl.zst",
    ]
    progress = jobs.Progress.model_validate_json(
        objects.get_bytes(layout.progress(refs.Uri.parse(OUTPUT)))
    )
    assert (progress.stage, progress.attempt) == ("Publishing", 3)
    assert [path.name for path in tmp_path.iterdir()] == ["into"], "the scratch folder is removed"


def test_repeated_job_returns_the_existing_artifact(
    tmp_path: Path, objects: memory_store.MemoryStore
) -> None:
    """Even if the sources were deleted in the meantime."""
    first = job.run(environ(tmp_path), lambda _: objects)[1]
    for name in documents():
        objects.delete(refs.Uri("bucket", f"sources/code/{name}"))
    code, second = job.run(environ(tmp_path), lambda _: objects)
    assert (code, second.artifact) == (jobs.ExitCode.SUCCEEDED, first.artifact)


BAD = [
    ("no object", {"s3": {"uri": "s3://bucket/nothing/"}}, reasons.SOURCE_NOT_FOUND),
    ("prefix of a name", {"s3": {"uri": "s3://bucket/sources/cod"}}, reasons.SOURCE_NOT_FOUND),
    ("no bucket", {"s3": {"uri": "s3://missing/x/"}}, reasons.SOURCE_NOT_FOUND),
    ("unselected", {"include": ["x/**"]}, reasons.SOURCE_INVALID),
    ("nothing in it", {"extract": ["MarkdownSections"]}, reasons.SOURCE_INVALID),
    ("disagreeing license", {"license": "MIT"}, reasons.LICENSE_UNKNOWN),
    ("spec", {"weight": 1.5}, reasons.SPEC_INVALID),
]


@pytest.mark.parametrize(("source", "reason"), [item[1:] for item in BAD], ids=[x[0] for x in BAD])
def test_invalid_input_publishes_nothing(
    tmp_path: Path, objects: memory_store.MemoryStore, source: dict[str, Any], reason: str
) -> None:
    """Exit code 64 and no manifest; the job succeeds once the input is corrected."""
    code, termination = job.run(environ(tmp_path, **source), lambda _: objects)
    assert (code, termination.reason, termination.artifact) == (
        jobs.ExitCode.INVALID_INPUT,
        reason,
        None,
    )
    assert objects.head(layout.manifest(refs.Uri.parse(OUTPUT))) is None
    assert job.run(environ(tmp_path), lambda _: objects)[0] is jobs.ExitCode.SUCCEEDED


@pytest.mark.parametrize("error", [store_errors.StoreUnreachable, store_errors.StoreDenied])
@pytest.mark.parametrize("call", ["keys", "open", "put_file", "get_bytes"])
def test_storage_error_is_retried_soon(
    tmp_path: Path,
    objects: memory_store.MemoryStore,
    monkeypatch: pytest.MonkeyPatch,
    error: type[store_errors.StoreError],
    call: str,
) -> None:
    """For every call that fails: exit code 75, the reason of the store, and no manifest."""

    def fail(*args: object, **kwargs: object) -> Any:
        raise error("the endpoint failed; check it")

    with monkeypatch.context() as patched:
        patched.setattr(objects, call, fail)
        code, termination = job.run(environ(tmp_path), lambda _: objects)
    assert (code, termination.reason) == (jobs.ExitCode.STORAGE_ERROR, error.reason)
    assert objects.head(layout.manifest(refs.Uri.parse(OUTPUT))) is None
    assert job.run(environ(tmp_path), lambda _: objects)[0] is jobs.ExitCode.SUCCEEDED


def test_failed_progress_write_does_not_fail_the_job(
    tmp_path: Path, objects: memory_store.MemoryStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is for people to look at; the artifact is what counts."""
    real = objects.put_bytes

    def put(uri: refs.Uri, data: bytes, *, if_absent: bool = False) -> bool:
        if uri.name == jobs.PROGRESS_FILE:
            raise store_errors.StoreDenied("not allowed")
        return real(uri, data, if_absent=if_absent)

    monkeypatch.setattr(objects, "put_bytes", put)
    assert job.run(environ(tmp_path), lambda _: objects)[0] is jobs.ExitCode.SUCCEEDED


def test_defect_reports_its_place_and_not_its_text(
    tmp_path: Path, objects: memory_store.MemoryStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The text of an exception may contain a row or a credential."""

    def fail(*args: object) -> Iterator[tuple[str, int]]:
        raise RuntimeError("a secret")

    monkeypatch.setattr(objects, "keys", fail)
    code, termination = job.run(environ(tmp_path), lambda _: objects)
    assert (code, termination.reason) == (jobs.ExitCode.INTERNAL_ERROR, reasons.INTERNAL_ERROR)
    assert "RuntimeError at test_job.py" in termination.message
    assert "secret" not in termination.message


def test_missing_job_message_names_the_command(tmp_path: Path) -> None:
    """For a person who runs the module by hand."""
    code, termination = job.run({})
    assert code is jobs.ExitCode.INVALID_INPUT
    assert "mens corpus build" in termination.message


def test_heavy_modules_are_not_imported() -> None:
    """No torch, no kopf, no kubernetes; boto3 only behind mens.artifacts."""
    script = (
        "import sys, mens_corpus.__main__;"
        "print(sorted({'torch', 'kopf', 'kubernetes', 'transformers', 'numpy'} & set(sys.modules)))"
    )
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"


@pytest.mark.s3
def test_pod_builds_from_an_s3_server(
    tmp_path: Path, s3_server: S3Server, s3_store: s3.S3Store, bucket: refs.Uri
) -> None:
    """The module as in the image: exit code, termination message, verified artifact."""
    upload_documents(s3_store, bucket.bucket)
    env = os.environ | s3_server.environ() | environ(tmp_path, bucket=bucket.bucket)
    run = subprocess.run([sys.executable, "-m", "mens_corpus"], env=env, check=False)
    assert run.returncode == 0
    termination = jobs.Termination.model_validate_json((tmp_path / "termination").read_bytes())
    assert termination.artifact is not None
    reader.fetch(s3_store, termination.artifact, tmp_path / "into")
    lines = [orjson.loads(x) for x in jsonl.read_lines(tmp_path / "into" / "train.jsonl.zst")]
    assert [line["license"] for line in lines] == ["Apache-2.0"] * 2


@pytest.mark.s3
def test_preempted_pod_leaves_no_artifact(
    tmp_path: Path, s3_server: S3Server, s3_store: s3.S3Store, bucket: refs.Uri
) -> None:
    """SIGTERM during reading: exit code 143, no manifest, no scratch; the next pod succeeds."""
    for name, data in documents(400).items():
        s3_store.put_bytes(bucket.join("sources", "code", name), data)
    env = os.environ | s3_server.environ() | environ(tmp_path, bucket=bucket.bucket)
    output = refs.Uri.parse(OUTPUT.replace("bucket", bucket.bucket, 1))
    process = subprocess.Popen([sys.executable, "-m", "mens_corpus"], env=env)
    try:
        deadline = time.monotonic() + 60
        while s3_store.head(layout.progress(output)) is None and time.monotonic() < deadline:
            time.sleep(0.02)
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=60) == jobs.ExitCode.PREEMPTED
    finally:
        process.kill()
        process.wait()
    termination = jobs.Termination.model_validate_json((tmp_path / "termination").read_bytes())
    assert termination.reason == reasons.PREEMPTED
    assert s3_store.head(layout.manifest(output)) is None
    assert [path.name for path in tmp_path.iterdir()] == ["termination"]
    assert (
        subprocess.run([sys.executable, "-m", "mens_corpus"], env=env, check=False).returncode == 0
    )
    assert manifests.read(s3_store, output)[0].kind is manifests.Kind.CORPUS


@pytest.mark.s3
def test_object_with_an_invalid_name_is_quarantined(
    tmp_path: Path, s3_server: S3Server, s3_store: s3.S3Store, bucket: refs.Uri
) -> None:
    """Another program named it; the other objects become rows."""
    upload_documents(s3_store, bucket.bucket)
    odd = "odd/in\u200bvisible.py"
    client = boto3.client(
        "s3",
        endpoint_url=s3_server.endpoint,
        region_name="us-east-1",
        aws_access_key_id=s3_server.access_key_id,
        aws_secret_access_key=s3_server.secret_access_key,
    )
    client.put_object(Bucket=bucket.bucket, Key=f"sources/code/{odd}", Body=b"x = 1\n")
    given = environ(tmp_path, bucket=bucket.bucket)
    code, termination = job.run(given, lambda _: s3_store)
    assert (code, termination.reason) == (jobs.ExitCode.SUCCEEDED, reasons.SUCCEEDED)
    assert termination.artifact is not None
    manifest = reader.fetch(s3_store, termination.artifact, tmp_path / "into")
    assert manifest.details["rows"] == {"train": 2, "validation": 1}
    (line,) = jsonl.read_lines(tmp_path / "into" / "quarantine.jsonl.zst")
    entry = orjson.loads(line)
    assert (entry["path"], entry["reason"]) == (odd, reasons.NAME_REFUSED)
    assert "'in\\u200bvisible.py'" in entry["message"]
