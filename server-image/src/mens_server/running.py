"""The program: HTTP first, then loading beside it; SIGTERM drains and ends with 0."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import logging
import os
import signal
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

import pydantic
import uvicorn

from mens.api import jobs
from mens.artifacts import manifests, publishing, reading, refs, s3
from mens_server import limits, loading, readiness
from mens_server.app import building
from mens_server.app import service as services
from mens_server.engines import fake, looping, ports

_log = logging.getLogger(__name__)

UNNEEDED: Final = frozenset({"telemetry.jsonl", "training-preflight.json"})
"""Files of an adapter that serving does not need."""
READING: Final = 64
"""Requests that may be read and turned into tokens beside those that run or wait."""


def main(argv: Sequence[str], environ: Mapping[str, str]) -> int:
    """Serve what `MENS_JOB` says; the exit code."""
    arguments = _parser().parse_args(argv)
    logging.basicConfig(
        level=environ.get("MENS_LOG_LEVEL", "INFO"),
        stream=sys.stderr,
        format="%(asctime)s %(levelname)s %(name)s %(message)s",
    )
    try:
        job = jobs.ServeJob.model_validate_json(environ[jobs.JOB_ENV])
    except KeyError:
        _log.error("%s is not set: it must hold the JSON of a ServeJob", jobs.JOB_ENV)
        return int(jobs.ExitCode.INPUT_WRONG)
    except pydantic.ValidationError as error:
        _log.error("%s is no ServeJob: %s", jobs.JOB_ENV, error.errors(include_input=False))
        return int(jobs.ExitCode.INPUT_WRONG)
    _prepare_process(job)
    places = job.max_batch_size + job.max_queue_length
    service = services.Service(limits.Limits(open_requests=places + READING), job.base_name)
    loader = loading.Loader(
        job,
        service,
        fetch=fetcher(environ),
        build=builder(job, arguments.engine),
        scratch=Path(environ.get(jobs.SCRATCH_ENV, "/scratch")),
    )
    asyncio.run(serve(job, service, loader))
    _log.info("ended")
    return int(jobs.ExitCode.DONE)


def fetcher(environ: Mapping[str, str]) -> loading.Fetch:
    """Fetch from the S3 store that the environment describes."""
    store = s3.from_env(environ)

    def fetch(
        ref: refs.ArtifactRef, into: Path, progress: publishing.Progress
    ) -> manifests.Manifest:
        manifest, _ = manifests.read(store, ref)
        wanted = [file.path for file in manifest.files if file.path not in UNNEEDED]
        into.mkdir(parents=True, exist_ok=True)
        loading.clean(into, manifest)
        return reading.fetch(store, ref, into, only=wanted, progress=progress)

    return fetch


def builder(job: jobs.ServeJob, engine: str) -> loading.BuildEngine:
    """The engine that the command line names."""

    def build(folder: Path) -> ports.Engine:
        runner: looping.Runner
        if engine == "fake":
            runner = fake.FakeRunner(slots=job.max_batch_size, max_context=job.max_tokens)
        else:
            from mens_server.engines.native import running as native  # noqa: PLC0415  # torch

            runner = native.load(
                folder,
                slots=job.max_batch_size,
                max_context=job.max_tokens,
                threads=job.threads,
            )
        return looping.LoopEngine(runner, max_queue=job.max_queue_length)

    return build


def web(service: services.Service, host: str, port: int) -> uvicorn.Config:
    """How HTTP is served; bounds on requests are the application's."""
    return uvicorn.Config(
        building.build(service),
        host=host,
        port=port,
        log_config=None,
        access_log=False,
        h11_max_incomplete_event_size=64 << 10,
        timeout_graceful_shutdown=5,
        server_header=False,
    )


async def serve(job: jobs.ServeJob, service: services.Service, loader: loading.Loader) -> None:
    """Serve until SIGTERM or SIGINT, then drain."""
    server = _Server(web(service, job.host, job.port))
    loop = asyncio.get_running_loop()
    asked = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, asked.set)
    loader.start()
    drain = asyncio.create_task(_drain(asked, server, service, loader))
    try:
        await server.serve()
    finally:
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.remove_signal_handler(number)
        drain.cancel()
        loader.stop()
        if service.engine is not None:
            await asyncio.to_thread(service.engine.close)


async def _drain(
    asked: asyncio.Event,
    server: uvicorn.Server,
    service: services.Service,
    loader: loading.Loader,
) -> None:
    """Say unready, wait for endpoints to forget us, finish what runs, end."""
    await asked.wait()
    _log.info("draining")
    loader.stop()
    service.readiness.enter(readiness.DRAINING)
    engine = service.engine
    if engine is not None:
        await asyncio.sleep(service.limits.drain_delay_seconds)
        if not await engine.drain(service.limits.drain_cap_seconds):
            _log.warning("answers were cut off: the drain took longer than its cap")
    server.should_exit = True


class _Server(uvicorn.Server):
    """A server that leaves the signals to us: its own way drops readiness and waits for nobody."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Capture nothing."""
        yield


def _prepare_process(job: jobs.ServeJob) -> None:
    # Read by OpenMP and by libraries that would ask a hub; must be set before torch is imported.
    os.environ["OMP_NUM_THREADS"] = str(job.threads)
    # Threads that wait must sleep: spinning beside a busy neighbour cost a factor of 5 in tokens/s.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    os.environ["HF_HUB_OFFLINE"] = "1"
    os.environ["TRANSFORMERS_OFFLINE"] = "1"
    os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"
    os.environ["HF_HUB_DISABLE_PROGRESS_BARS"] = "1"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m mens_server",
        description="Serve a base model and its adapters; the job comes in MENS_JOB.",
    )
    parser.add_argument(
        "--engine", choices=("native", "fake"), default="native", help="what computes the tokens"
    )
    return parser
