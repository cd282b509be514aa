"""The program: HTTP first, then loading beside it; SIGTERM drains and ends with 0.

It ends through the same edge as the jobs: what keeps it from serving stands in the termination log.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import glob
import logging
import os
import signal
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

import uvicorn

from mens.api import reasons
from mens.artifacts import manifests, reader, refs, s3, store, transfers
from mens.runtime import jobs, termination
from mens.runtime import process as runtime_process
from mens_server import limits, model_loader, readiness
from mens_server.app import application
from mens_server.app import service as services
from mens_server.engines import fake, interface, worker

_log = logging.getLogger(__name__)

UNNEEDED: Final = frozenset({"telemetry.jsonl", "training-preflight.json"})
"""Files of an adapter that serving does not need."""
READING: Final = 64
"""Requests that may be read and turned into tokens beside those that run or wait."""


STOPPED: Final[termination.Outcome] = (
    jobs.ExitCode.SUCCEEDED,
    jobs.Termination(
        reason=reasons.PREEMPTED, message="the pod was asked to end; running answers went first"
    ),
)
"""The end by SIGTERM."""


def main(argv: Sequence[str], environ: Mapping[str, str]) -> int:
    """Serve what `MENS_JOB` says; the exit code."""
    arguments = _parser().parse_args(argv)
    runtime_process.configure_logging()
    return runtime_process.run(lambda: run(arguments.engine, environ), environ)


def run(engine: str, environ: Mapping[str, str]) -> termination.Outcome:
    """Serve; every error becomes an exit code and a reason."""
    try:
        job = runtime_process.read_job(jobs.ServeJob, environ)
        _prepare_process(job)
        places = job.max_batch_size + job.max_queue_length
        service = services.Service(limits.Limits(open_requests=places + READING), job.base_name)
        loader = model_loader.Loader(
            job,
            service,
            fetch=artifact_downloader(s3.from_env(environ)),
            build=builder(job, engine),
            scratch=Path(environ.get(jobs.SCRATCH_ENV, "/scratch")),
        )
        return asyncio.run(serve(job, service, loader))
    except termination.Preempted:
        return STOPPED
    except Exception as error:  # the border of the process: nothing may leave unnamed
        return model_loader.outcome_of_error(error)


def artifact_downloader(source: store.ObjectStore) -> model_loader.Fetch:
    """Fetch what serving needs of an artifact."""

    def fetch(
        ref: refs.ArtifactRef, into: Path, progress: transfers.Progress
    ) -> manifests.Manifest:
        manifest, _ = manifests.read(source, ref)
        wanted = [glob.escape(file.path) for file in manifest.files if file.path not in UNNEEDED]
        into.mkdir(parents=True, exist_ok=True)
        model_loader.clean(into, manifest)
        return reader.fetch(source, ref, into, only=wanted, manifest=manifest, progress=progress)

    return fetch


def builder(job: jobs.ServeJob, engine: str) -> model_loader.BuildEngine:
    """The engine that the command line names."""

    def build(folder: Path) -> interface.Engine:
        runner: worker.ModelRunner
        if engine == "fake":
            runner = fake.FakeRunner(slots=job.max_batch_size, max_context=job.max_tokens)
        else:
            from mens_server.engines.native import model_runner as native  # noqa: PLC0415  # torch

            device = native.best_device()
            runner = native.load(
                folder,
                slots=job.max_batch_size,
                max_context=job.max_tokens,
                threads=job.threads,
                device=device,
                adapters=len(job.adapters),
                limit=native.memory_of(device),
            )
        return worker.WorkerEngine(runner, max_queue=job.max_queue_length)

    return build


def web(service: services.Service, host: str, port: int) -> uvicorn.Config:
    """How HTTP is served; bounds on requests are the application's."""
    return uvicorn.Config(
        application.build(service),
        host=host,
        port=port,
        log_config=None,
        access_log=False,
        h11_max_incomplete_event_size=64 << 10,
        timeout_graceful_shutdown=5,
        server_header=False,
    )


async def serve(
    job: jobs.ServeJob, service: services.Service, loader: model_loader.Loader
) -> termination.Outcome:
    """Serve until SIGTERM or SIGINT, or until the loader gives up."""
    server = _Server(web(service, job.host, job.port))
    loop = asyncio.get_running_loop()
    over: asyncio.Future[termination.Outcome] = loop.create_future()

    def end(how: termination.Outcome) -> None:
        if not over.done():
            over.set_result(how)

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, end, STOPPED)
    loader.start(lambda how: loop.call_soon_threadsafe(end, how))
    stopping = asyncio.create_task(_stop(over, server, service, loader))
    try:
        await server.serve()
        return over.result()  # Done, or HTTP ended by itself: then this is an error.
    finally:
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.remove_signal_handler(number)
        stopping.cancel()
        loader.stop()
        if service.engine is not None:
            await asyncio.to_thread(service.engine.close)


async def _stop(
    over: asyncio.Future[termination.Outcome],
    server: uvicorn.Server,
    service: services.Service,
    loader: model_loader.Loader,
) -> None:
    """Say unready, wait for endpoints to forget us, finish what runs, end."""
    await over
    loader.stop()
    # Who was never ready has nothing to finish, and its last word at /ready is why.
    if service.readiness.ready:
        _log.info("draining")
        service.readiness.enter(readiness.DRAINING)
        engine = service.engine
        assert engine is not None
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
    # Threads that wait must sleep: spinning beside a busy neighbor cost a factor of 5 in tokens/s.
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
