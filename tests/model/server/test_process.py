"""The whole program: a real S3 server, a real model, `python -m mens_server`, SIGTERM.

Prints what it measured; run with `-s` to see it.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent import futures
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from mens.artifacts import refs, s3
from mens.runtime import jobs
from tests.model.server import running_server, tiny
from tests.support.s3 import S3Server, bucket, s3_server, s3_store

__all__ = ["bucket", "s3_server", "s3_store"]

pytestmark = [pytest.mark.model, pytest.mark.s3]

THREADS = 2
QUESTIONS = [
    "What does the function os.path.join do?",
    "How do I read a file line by line in Python?",
    "What is a dictionary?",
    "Explain what a generator is.",
    "What does enumerate return?",
    "How do I sort a list of pairs by the second item?",
    "What is the difference between a list and a tuple?",
    "Why would one use a context manager?",
]


def smollm2() -> Path:
    found = sorted(Path.home().glob(".cache/mens/models/smollm2-135m-instruct-*/config.json"))
    if not found:
        pytest.skip("SmolLM2-135M-Instruct is not in ~/.cache/mens/models")
    return found[0].parent


@dataclass
class Program:
    process: subprocess.Popen[bytes]
    client: httpx.Client
    began: float
    log: Path

    def wait(self, path: str, seconds: float = 120) -> float:
        """Seconds from the start until the path answers 200."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            assert self.process.poll() is None, self.log.read_text()
            try:
                if self.client.get(path).status_code == 200:
                    return time.monotonic() - self.began
            except httpx.TransportError:
                pass
            time.sleep(0.02)
        raise AssertionError(self.log.read_text())

    def termination(self) -> jobs.Termination:
        return jobs.Termination.model_validate_json(self.log.with_suffix(".end").read_bytes())

    def ask(self, model: str, question: str, tokens: int = 64) -> dict[str, Any]:
        body = {
            "model": model,
            "messages": [{"role": "user", "content": question}],
            "temperature": 0,
            "max_tokens": tokens,
        }
        answer = self.client.post("/v1/chat/completions", json=body)
        assert answer.status_code == 200, answer.text
        return dict(answer.json())

    def processor_seconds(self) -> float:
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def resident_bytes(self, key: str) -> int:
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        line = next(line for line in status.splitlines() if line.startswith(f"{key}:"))
        return int(line.split()[1]) * 1024


@pytest.fixture(scope="module")
def adapter(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An adapter with random weights: as heavy as a trained one of rank 16."""
    folder = tmp_path_factory.mktemp("adapter")
    return tiny.adapter(smollm2(), folder, seed=4, std=0.02, r=16, lora_alpha=16)


@pytest.fixture
def launch(s3_server: S3Server, tmp_path: Path) -> Iterator[Callable[[jobs.ServeJob], Program]]:
    """Start the program; what is left of it at the end is ended by its own id."""
    started: list[Program] = []

    def start(job: jobs.ServeJob) -> Program:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        job = job.model_copy(update={"host": "127.0.0.1", "port": port, "threads": THREADS})
        log = tmp_path / "server.log"
        environ = {
            **os.environ,
            **s3_server.environ(),
            jobs.JOB_ENV: job.model_dump_json(by_alias=True),
            jobs.SCRATCH_ENV: str(tmp_path / "scratch"),
            jobs.TERMINATION_ENV: str(log.with_suffix(".end")),
        }
        began = time.monotonic()
        with log.open("wb") as errors:
            process = subprocess.Popen(
                [sys.executable, "-m", "mens_server"], env=environ, stderr=errors
            )
        client = httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=300)
        started.append(Program(process, client, began, log))
        return started[-1]

    yield start
    for program in started:
        program.client.close()
        if program.process.poll() is None:
            program.process.kill()
        program.process.wait(30)


def test_a_real_model_answers(
    launch: Callable[[jobs.ServeJob], Program],
    s3_store: s3.S3Store,
    bucket: refs.Uri,
    adapter: Path,
) -> None:
    """Ready with base and adapter, eight answers at once, one copy of the base, exit code 0."""
    shelf = running_server.Bucket(s3_store, bucket)
    base = shelf.model("base", smollm2())
    job = running_server.job(base, a=shelf.adapter("a", adapter, base))
    job = job.model_copy(update={"max_batch_size": 8, "max_tokens": 1024})
    program = launch(job)
    measured: dict[str, Any] = {"health": program.wait("/health")}
    measured["ready"] = program.wait("/ready")
    measured["seconds"] = program.client.get("/ready").json()["seconds"]
    program.ask("base", "Warm up.", 2)
    for name, models in (
        ("base c=1", ["base"]),
        ("adapter c=1", ["a"]),
        ("base c=8", ["base"] * 8),
        ("mixed c=8", ["base", "a"] * 4),
    ):
        begin, used = time.monotonic(), program.processor_seconds()
        with futures.ThreadPoolExecutor(8) as pool:
            answers = list(pool.map(program.ask, models, QUESTIONS))
        spent = time.monotonic() - begin
        tokens = sum(answer["usage"]["completion_tokens"] for answer in answers)
        measured[f"{name} tokens/s"] = round(tokens / spent, 1)
        used = program.processor_seconds() - used
        measured[f"{name} tokens/CPU s"] = round(tokens / used, 1)
        measured[f"{name} seconds"] = round(spent, 2)
    capital = program.ask("base", "What is the capital of France?", 20)
    assert "Paris" in capital["choices"][0]["message"]["content"]
    measured["rss MB"] = program.resident_bytes("VmRSS") >> 20
    measured["peak rss MB"] = program.resident_bytes("VmHWM") >> 20
    program.process.send_signal(signal.SIGTERM)
    assert program.process.wait(60) == 0
    assert program.termination().reason == "Preempted"
    sys.stdout.write(f"\n{json.dumps(measured)}\n")


def test_invalid_credentials_are_reported_and_retried(
    launch: Callable[[jobs.ServeJob], Program],
    s3_store: s3.S3Store,
    bucket: refs.Uri,
    models: Path,
    monkeypatch: pytest.MonkeyPatch,
    s3_server: S3Server,
) -> None:
    """/health is fine, /ready says StorageDenied, SIGTERM still ends it with 0."""
    base = running_server.Bucket(s3_store, bucket).model("base", models / "base")
    environ = {**s3_server.environ(), "AWS_SECRET_ACCESS_KEY": "wrong"}
    monkeypatch.setattr(S3Server, "environ", lambda _: environ)
    program = launch(running_server.job(base))
    program.wait("/health")
    report = running_server.wait_for(
        program.client, lambda report: report["reason"] == "StorageDenied"
    )
    assert "wrong" not in str(report)
    program.process.send_signal(signal.SIGTERM)
    assert program.process.wait(60) == 0


def test_a_base_that_is_refused_ends_the_program(
    launch: Callable[[jobs.ServeJob], Program],
    s3_store: s3.S3Store,
    bucket: refs.Uri,
    models: Path,
    tmp_path: Path,
) -> None:
    """The exit code says that an input is wrong, the termination log which and what to do."""
    shutil.copytree(models / "base", tmp_path / "evil")
    config = json.loads((tmp_path / "evil" / "config.json").read_text())
    (tmp_path / "evil" / "config.json").write_text(json.dumps({**config, "auto_map": {}}))
    base = running_server.Bucket(s3_store, bucket).model("evil", tmp_path / "evil")
    program = launch(running_server.job(base))
    assert program.process.wait(60) == jobs.ExitCode.INVALID_INPUT
    assert program.termination().reason == "BaseModelInvalid"
    assert "auto_map" in program.termination().message
