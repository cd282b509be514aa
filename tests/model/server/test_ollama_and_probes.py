"""The Ollama-shaped routes, the probes, and what clients do to a server."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import time
from collections.abc import Callable, Iterator
from concurrent import futures
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx
import pytest

from mens.runtime import jobs
from mens_server import limits, model_loader, process
from mens_server.app import service as services
from mens_server.engines import fake
from mens_server.protocol import generation
from tests.model.server import running_server

pytestmark = pytest.mark.model

TURNS = [{"role": "user", "content": "hello"}]


@pytest.fixture
def client(served: running_server.RunningServer) -> Iterator[httpx.Client]:
    with served.client() as client:
        yield client


def test_ollama_chat_streams_lines_by_default(client: httpx.Client) -> None:
    """NDJSON whose last line has counts and nanoseconds; the same text as without streaming."""
    body = {"model": "a:latest", "messages": TURNS, "options": {"temperature": 0, "num_predict": 9}}
    lines = [json.loads(line) for line in client.post("/api/chat", json=body).text.splitlines()]
    assert [line["done"] for line in lines] == [False] * (len(lines) - 1) + [True]
    assert lines[-1]["eval_count"] == 9
    assert lines[-1]["total_duration"] > 0
    whole = client.post("/api/chat", json={**body, "stream": False}).json()
    assert whole["message"]["content"] == "".join(line["message"]["content"] for line in lines)


def test_ollama_generate(client: httpx.Client) -> None:
    """With and without the chat template."""
    body = {"model": "base", "prompt": "hi", "stream": False, "options": {"temperature": 0}}
    plain = client.post("/api/generate", json=body).json()
    raw = client.post("/api/generate", json={**body, "raw": True}).json()
    assert plain["response"] != raw["response"]
    assert plain["done_reason"] == "stop"


@pytest.mark.parametrize("stream", [True, False])
def test_ollama_durations(crowded: running_server.RunningServer, stream: bool) -> None:
    """Prompt and answer have their own times, streamed or not: 10 ms for each token here."""
    options = {"num_predict": 21}
    body = {"model": "base", "messages": TURNS, "stream": stream, "options": options}
    with crowded.client() as client:
        last = json.loads(client.post("/api/chat", json=body).text.splitlines()[-1])
    assert last["eval_count"] == 21
    assert last["eval_duration"] >= 20 * 10_000_000
    assert last["prompt_eval_duration"] >= 10_000_000
    assert last["prompt_eval_duration"] + last["eval_duration"] == last["total_duration"]


def test_ollama_neutral_values_are_accepted(client: httpx.Client) -> None:
    """Clients that spell out what they do not want, or send back what they got, are served."""
    options = {"temperature": 0, "num_predict": 1, "top_k": 0, "repeat_penalty": 1.0, "seed": None}
    turn: dict[str, Any] = {
        "role": "assistant",
        "content": "hi",
        "images": None,
        "tool_calls": [],
        "thinking": "",
    }
    common = {"model": "a", "options": options, "format": "", "think": False, "stream": False}
    chat = {**common, "messages": [*TURNS, turn, *TURNS], "tools": []}
    assert client.post("/api/chat", json=chat).json()["eval_count"] == 1
    ask = {**common, "prompt": "hi", "template": "", "system": "", "suffix": "", "context": []}
    assert client.post("/api/generate", json=ask).json()["eval_count"] == 1


def test_ollama_reads(client: httpx.Client) -> None:
    """Greeting, version and tags."""
    assert client.get("/").text == "Ollama is running"
    assert client.get("/api/version").json()["version"]
    assert [model["name"] for model in client.get("/api/tags").json()["models"]] == [
        "base:latest",
        "a:latest",
        "b:latest",
    ]


@pytest.mark.parametrize(
    ("change", "status", "word"),
    [
        ({"model": "zzz"}, 404, "zzz"),
        ({"options": {"top_k": 3}}, 400, "options.top_k"),
        ({"options": {"num_ctx": 10**6}}, 400, "200"),
        ({"options": {"seed": 2**70}}, 400, "options.seed"),
        ({"format": "json"}, 400, "format"),
        ({"tools": [{}]}, 400, "tools"),
    ],
)
def test_ollama_refuses_in_its_own_shape(
    client: httpx.Client, change: dict[str, object], status: int, word: str
) -> None:
    """One string behind `error`, naming what is not done."""
    answer = client.post("/api/chat", json={"model": "a", "messages": TURNS, **change})
    assert answer.status_code == status
    assert word in answer.json()["error"]


def test_embeddings_are_not_pretended(client: httpx.Client) -> None:
    """501."""
    assert client.post("/api/embeddings", json={}).status_code == 501


def test_metrics_and_attribution(client: httpx.Client) -> None:
    """Gauges that gateways read, counters of answers and refusals, and whom to name."""
    client.post("/api/chat", json={"model": "a", "messages": TURNS, "stream": False})
    client.post("/api/chat", json={"model": "zzz", "messages": TURNS})
    page = client.get("/metrics").text
    for line in (
        'vllm:num_requests_running{model_name="base"} 0.0',
        'vllm:num_requests_waiting{model_name="base"} 0.0',
        'vllm:request_success_total{finished_reason="stop",model_name="a"} 1.0',
        'mens_server_refusals_total{code="model_not_found"} 1.0',
        "mens_server_ready 1.0",
        'vllm:lora_requests_info{max_lora="2",running_lora_adapters="",waiting_lora_adapters=""}',
        'vllm:time_to_first_token_seconds_count{model_name="a"} 1.0',
    ):
        assert line in page
    models = client.get("/attribution").json()["models"]
    assert [model["notice"] for model in models] == ["", "notice of a", "notice of b"]
    assert models[1]["compliance"]["attributionRequired"] == "Yes"
    assert models[1]["upstream"]["modelId"] == "mens/tiny"


@pytest.fixture
def crowded(
    models: Path, bucket: running_server.Bucket, tmp_path: Path
) -> Iterator[running_server.RunningServer]:
    """One slot, a queue of one, 10 ms a step, answers of 150 tokens, 1 s for each."""
    runner = fake.FakeRunner(slots=1, max_context=200, step_seconds=0.01, answer_tokens=150)
    job = running_server.job(bucket.model("base", models / "base"))
    bounds = limits.Limits(answer_seconds=1.0, body_seconds=1.0, open_requests=12)
    build = running_server.fake_engine(runner, max_queue=1)
    with running_server.stand(job, bucket, tmp_path, build, bounds) as running_stand:
        with running_stand.client() as client:
            running_server.wait_for(client, lambda report: bool(report["ready"]))
        yield running_stand


def long_ask(stream: bool = False) -> dict[str, object]:
    return {"model": "base", "messages": TURNS, "stream": stream, "max_tokens": 140}


def test_a_full_queue_says_when_to_come_back(crowded: running_server.RunningServer) -> None:
    """429 with Retry-After for the third; a request that waits too long gets 504."""
    with crowded.client() as client, futures.ThreadPoolExecutor(3) as pool:

        def ask() -> httpx.Response:
            return client.post("/v1/chat/completions", json=long_ask())

        answers = [future.result() for future in [pool.submit(ask) for _ in range(3)]]
    statuses = sorted(answer.status_code for answer in answers)
    assert 429 in statuses
    refused = next(answer for answer in answers if answer.status_code == 429)
    assert int(refused.headers["retry-after"]) >= 1
    assert 504 in statuses


@pytest.fixture
def besieged(crowded: running_server.RunningServer) -> Iterator[running_server.RunningServer]:
    """As many requests open as may be, and none of them sends its body."""
    url = httpx.URL(crowded.url)
    with ExitStack() as stack:
        for _ in range(crowded.service.limits.open_requests):
            sock = stack.enter_context(socket.create_connection((url.host, url.port or 0)))
            sock.sendall(b"POST /api/chat HTTP/1.1\r\nhost: x\r\ncontent-length: 9\r\n\r\n")
        with crowded.client() as client:
            wait_until(lambda: client.get("/v1/models").status_code == 429)
        yield crowded


def test_probes_answer_however_many_requests_are_open(
    besieged: running_server.RunningServer,
) -> None:
    """A busy pod is not a dead one; one more request is told when to come back."""
    with besieged.client() as client:
        for path in ("/health", "/ready", "/metrics"):
            assert client.get(path).status_code == 200
        for path in ("/v1/chat/completions", "/api/chat"):
            answer = client.post(path, json=long_ask())
            assert answer.status_code == 429
            assert int(answer.headers["retry-after"]) >= 1
            assert "open" in str(answer.json()["error"])


def test_rejected_request_with_a_late_body_gets_its_whole_answer(
    besieged: running_server.RunningServer,
) -> None:
    """A body that arrives at a closed connection resets it, and the client would lose the 429."""
    url = httpx.URL(besieged.url)
    body = json.dumps(long_ask()).encode()
    head = f"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-length: {len(body)}\r\n\r\n"
    assert url.port is not None
    with socket.create_connection((url.host, url.port), timeout=30) as connection:
        connection.sendall(head.encode())
        time.sleep(0.1)
        connection.sendall(body[:10])
        time.sleep(0.1)
        connection.sendall(body[10:])
        answer = b"".join(iter(lambda: connection.recv(4096), b""))
    assert answer.startswith(b"HTTP/1.1 429")
    assert answer.endswith(b"}")


def test_a_body_that_does_not_come_is_not_waited_for(
    besieged: running_server.RunningServer,
) -> None:
    """Its place is free again after the limit."""
    count = float(besieged.service.limits.open_requests)
    line = f'mens_server_refusals_total{{code="body_too_slow"}} {count}'
    with besieged.client() as client:
        wait_until(lambda: line in client.get("/metrics").text)
        assert client.get("/v1/models").status_code == 200


@pytest.mark.parametrize("stream", [True, False])
def test_a_client_that_leaves_frees_its_slot(
    crowded: running_server.RunningServer, stream: bool
) -> None:
    """The slot is free long before the answer would have ended."""
    url = httpx.URL(crowded.url)
    body = json.dumps(long_ask(stream)).encode()
    head = f"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-length: {len(body)}\r\n\r\n"
    with socket.create_connection((url.host, url.port or 0)) as sock:
        sock.sendall(head.encode() + body)
        wait_until(lambda: stats(crowded).running == 1)
    wait_until(lambda: stats(crowded).running == 0)
    assert stats(crowded).generated_tokens < 100


def stats(where: running_server.RunningServer) -> generation.Stats:
    assert where.service.engine is not None
    return where.service.engine.stats()


async def until(check: Callable[[], bool]) -> None:
    await asyncio.to_thread(wait_until, check)


def wait_until(check: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        if check():
            return
        time.sleep(0.005)
    raise AssertionError("not within ten seconds")


async def test_sigterm_drains(models: Path, bucket: running_server.Bucket, tmp_path: Path) -> None:
    """Readiness turns 503 at once, the running answer is finished, and the server returns."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    base = bucket.model("base", models / "base")
    job = running_server.job(base).model_copy(update={"host": "127.0.0.1", "port": port})
    service = services.Service(limits.Limits(drain_delay_seconds=0.2), "base")
    runner = fake.FakeRunner(slots=1, max_context=200, step_seconds=0.01, answer_tokens=60)
    loader = model_loader.Loader(
        job, service, fetch=bucket.fetch, build=running_server.fake_engine(runner), scratch=tmp_path
    )
    serving = asyncio.create_task(process.serve(job, service, loader))
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}") as client:
        await until(lambda: service.readiness.ready)
        ask = asyncio.create_task(client.post("/v1/chat/completions", json=long_ask()))
        await until(lambda: service.engine is not None and service.engine.stats().running == 1)
        os.kill(os.getpid(), signal.SIGTERM)
        await asyncio.sleep(0.05)
        probe_answer = await client.get("/ready")
        assert (probe_answer.status_code, probe_answer.json()["phase"]) == (503, "Draining")
        answer = await ask
    assert answer.json()["usage"]["completion_tokens"] == 61
    assert (await asyncio.wait_for(serving, 10))[0] is jobs.ExitCode.SUCCEEDED
