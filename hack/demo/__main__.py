"""Command line: `python -m hack.demo check|up|down|model`."""

from __future__ import annotations

import argparse
import os
import sys
import time
import traceback
from collections.abc import Callable

from hack import cluster
from hack.cluster import external
from hack.demo import console, kubectl, ownership
from hack.setup import records
from hack.support import errors, progress

EXPECTED = (errors.ToolError,)
"""Failures whose message names the fix; any other failure needs its traceback."""


def main() -> int:
    """Runs the demo, ends it, or runs one part of it."""
    words: dict[str, tuple[Callable[[], int], str]] = {
        "check": (_check, "check before anything is built whether the demo can use your cluster"),
        "up": (_up, "run the whole demo"),
        "down": (_down, "end its cluster, or remove it from yours"),
        "model": (_model, "only convert the base model into the cache"),
    }
    parser = argparse.ArgumentParser(prog="python -m hack.demo", description=__doc__)
    choices = "; ".join(f"{word}: {says}" for word, (_, says) in words.items())
    parser.add_argument("command", choices=list(words), help=choices)
    run, _ = words[parser.parse_args().command]
    return run()


def _model() -> int:
    from hack.demo import model  # noqa: PLC0415  # imports torch, which `up` may not need

    sys.stdout.write(f"{model.folder()}\n")
    return 0


def _check() -> int:
    try:
        theirs = external.find()
        if theirs is not None and not external.lacking(theirs):
            ownership.require(_kubectl(theirs))
    except EXPECTED as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


def _up() -> int:
    # These need the environment; the other commands run without it.
    from hack.demo import gguf_conversion, job  # noqa: PLC0415
    from mens.artifacts import errors as store_errors  # noqa: PLC0415

    expected = (*EXPECTED, store_errors.StoreError, gguf_conversion.ConversionError)
    began = float(os.environ.get("MENS_STARTED") or time.time())
    stages = console.Stages(job.STAGES)
    stages.seconds["setup"] = round(time.time() - began, 1)
    made = records.seconds_since(began)
    stages.seconds |= {"cluster": made.get("binaries", 0.0), "images": made.get("images", 0.0)}
    running = None
    try:
        with stages.stage("cluster", "Start a real Kubernetes, or use yours"):
            running = cluster.up(ownership.NAMESPACE)
        job.run(running, stages, began)
    except expected as error:
        return _failed(running, str(error))
    except KeyboardInterrupt:
        return _failed(running, "it was interrupted")
    except Exception:  # whatever failed, the cluster stays up for inspection
        return _failed(running, traceback.format_exc())
    return 0


def _failed(running: cluster.Cluster | None, why: str) -> int:
    sys.stderr.write(f"\nthe demo failed: {why}\n")
    if running is not None:
        ours = running.kind is cluster.Kind.EMBEDDED
        sys.stderr.write("The cluster stays up: `make cluster-shell`, then\n")
        sys.stderr.write("`kubectl get mens,pods,events -A`. ")
        sys.stderr.write(f"`make demo-down` {'ends it' if ours else 'removes the demo from it'}.\n")
    return 1


def _down() -> int:
    """Ends the embedded cluster and leaves the user's, each even if the other fails."""
    status = 0
    for leave in (_end_ours, _leave_theirs):
        try:
            leave()
        except EXPECTED as error:
            sys.stderr.write(f"{error}\n")
            status = 1
    return status


def _end_ours() -> None:
    with progress.step(f"end {ownership.NAMESPACE}"):
        cluster.down(ownership.NAMESPACE)


def _leave_theirs() -> None:
    theirs = external.find()
    if theirs is not None:
        ownership.remove(_kubectl(theirs))
        external.forget(theirs)


def _kubectl(theirs: cluster.Cluster) -> kubectl.Kubectl:
    return kubectl.Kubectl(theirs.kubeconfig, theirs.kubectl, theirs.helm)


if __name__ == "__main__":
    sys.exit(main())
