"""A complete operator on an in-memory cluster and store, with a manual clock and without kopf.

`settle` runs everything that is due now, `advance` lets time pass. `start_pod` and `end_pod` act as
scheduler, kubelet and Job controller, in the order in which the real ones write.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import yaml

from mens.artifacts import digests, layout, manifests, refs
from mens.artifacts import errors as store_errors
from mens.provenance import licenses, obligations
from mens.runtime import jobs
from mens_operator import events, reconciler, store_reader
from mens_operator.cluster import cache, errors, kinds, lease, queue, reflector
from mens_operator.cluster import in_memory as fake
from mens_operator.manifests import platform
from mens_operator.plans import outcomes
from tests.support import memory_store

LICENSE = (Path(__file__).parents[2] / "LICENSE").read_bytes()
START = datetime(2026, 1, 1, 12, 0, 0, tzinfo=UTC)
INSTALLATION = platform.Platform(
    images=platform.Images("mens-corpus:1", "mens-trainer:1", "mens-server:1"),
    bucket="s3://mens",
    s3_environment={"MENS_S3_ENDPOINT": "http://store:8333"},
    s3_secret="mens-s3",  # a name
)
POLICY = outcomes.Policy()

CORPUS = """
apiVersion: mens.vox-lang.org/v1alpha1
kind: MensCorpus
metadata: {namespace: default, name: docs}
spec:
  sources:
    - {name: docs, s3: {uri: "s3://mens/sources/docs"}, extract: [MarkdownSections], license: MIT}
"""
TRAINRUN = """
apiVersion: mens.vox-lang.org/v1alpha1
kind: MensTrainRun
metadata: {namespace: default, name: tune}
spec:
  baseModel: {uri: "s3://mens/models/tiny/1"}
  corpusRef: {name: docs}
"""
SERVE = """
apiVersion: mens.vox-lang.org/v1alpha1
kind: MensServe
metadata: {namespace: default, name: chat}
spec:
  baseModel: {uri: "s3://mens/models/tiny/1"}
  adapters:
    - {name: tuned, trainRunRef: {name: tune}}
"""

CORPUS_KEY = kinds.Key(kinds.CORPUS, "default", "docs")
RUN_KEY = kinds.Key(kinds.TRAINRUN, "default", "tune")
SERVE_KEY = kinds.Key(kinds.SERVE, "default", "chat")


class Clock:
    """A clock that only moves when a test moves it."""

    def __init__(self) -> None:
        self.moment = START

    def now(self) -> datetime:
        return self.moment

    def seconds(self) -> float:
        return (self.moment - START).total_seconds()


class Simulation:
    """One operator with its cluster and store; `restart` replaces the operator only."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.cluster = fake.InMemoryApiServer(self.clock.now)
        self.store = memory_store.MemoryStore(["mens"])
        self._readers: list[store_reader.StoreReader] = []
        self._start()

    def _start(self) -> None:
        elector_free = lease.Fenced(self.cluster, lambda: None)
        self.queue = queue.WorkQueue(self.clock.seconds)
        reader = store_reader.StoreReader(self.store, self.clock.seconds)
        self._readers.append(reader)
        self.reconciler = reconciler.Reconciler(
            cluster=elector_free,
            store=reader,
            recorder=events.EventRecorder(
                elector_free, "test", clock=self.clock.seconds, now=self.clock.now
            ),
            work=self.queue,
            installation=INSTALLATION,
            policy=POLICY,
            now=self.clock.now,
        )
        self._synced = ""
        """Version of the cluster that the cache holds."""

    def close(self) -> None:
        for reader in self._readers:
            reader.close()

    def restart(self) -> None:
        """Start a new operator with an empty cache; cluster and store stay."""
        self._start()

    # -- time --------------------------------------------------------------------------------

    async def sync(self) -> None:
        """List all objects into the cache, as informers do at their start."""
        for kind in (*kinds.RESOURCES, *kinds.CHILDREN):
            selector = cache.CHILD_SELECTOR if kind in kinds.CHILDREN else ""
            scope = reflector.Scope(kind, None, selector)
            await reflector.list_all(self.cluster, scope, self.reconciler.cache)

    async def settle(self, rounds: int = 50) -> None:
        """Let the operator do everything that is due now."""
        for _ in range(rounds):
            version = (await self.cluster.list_page(kinds.LEASE, None)).resource_version
            if version != self._synced:  # Listing is what costs most, and often nothing changed.
                await self.sync()
                self._synced = version
            # Changes of children are batched for a moment: that moment counts as now.
            if not await self.queue.drain(self.reconciler, until=self.clock.seconds() + 0.5):
                return
        raise AssertionError("the operator does not come to rest")

    async def advance(self, seconds: float) -> None:
        """Let time pass from deadline to deadline, and run everything that becomes due."""
        end = self.clock.seconds() + seconds
        while self.clock.seconds() < end:
            due = self.queue.next_due()
            step = end if due is None else min(max(due, self.clock.seconds() + 0.5), end)
            self.clock.moment = START + timedelta(seconds=step)
            await self.settle()

    # -- users -------------------------------------------------------------------------------

    def apply(self, text: str, **changes: Any) -> Mapping[str, Any]:
        """Apply a manifest in YAML; `changes` replace fields of its spec."""
        obj = yaml.safe_load(text)
        obj["spec"].update(changes)
        return self.cluster.put(obj)

    def add_model(
        self,
        uri: str = "s3://mens/models/tiny/1",
        *,
        known_license: bool = True,
        content: bytes = b"weights",
    ) -> digests.Digest:
        """Put a base model into the store and return its digest."""
        return self.publish(uri, manifests.Kind.MODEL, known_license=known_license, content=content)

    def publish(
        self,
        uri: str,
        kind: manifests.Kind,
        *,
        known_license: bool = True,
        inputs: tuple[manifests.Input, ...] = (),
        details: dict[str, Any] | None = None,
        content: bytes = b"weights",
    ) -> digests.Digest:
        """Put an artifact into the store and return its digest."""
        folder = refs.Uri.parse(uri)
        if known_license:
            compliance = obligations.of(licenses.declare("Apache-2.0"), [LICENSE])
            if kind is manifests.Kind.ADAPTER:  # a corpus with another license
                psf = obligations.of(licenses.declare("PSF-2.0"))
                compliance = obligations.join([compliance, psf])
        else:
            compliance = obligations.unknown()
        contents = {"data.safetensors": content, "LICENSES/Apache-2.0.txt": LICENSE}
        files = []
        for path, data in contents.items():
            digest = digests.Digest.of_bytes(data)
            self.store.put_bytes(layout.blob(folder, digest), data)
            files.append(manifests.File(path=path, digest=digest, size_bytes=len(data)))
        manifest = manifests.Manifest(
            kind=kind,
            name=folder.name,
            files=tuple(sorted(files, key=lambda file: file.path)),
            inputs=inputs,
            compliance=compliance,
            details=details or {},
            producer=manifests.Producer(image="test"),
        )
        self.store.put_bytes(folder / manifests.FILE_NAME, manifest.to_bytes())
        return manifest.digest

    @contextlib.contextmanager
    def store_unreachable(self) -> Iterator[None]:
        """Make the endpoint of the store unreachable."""
        buckets = self.store._objects

        class Down(dict[str, dict[str, bytes]]):
            def __getitem__(self, name: str) -> dict[str, bytes]:
                raise store_errors.StoreUnreachable("http://store:8333 does not answer; start it")

        self.store._objects = Down()
        yield
        self.store._objects = buckets

    # -- controllers and kubelets --------------------------------------------------------------

    def job(self, owner: kinds.Key) -> dict[str, Any]:
        """Return the newest Job of a resource."""
        found = self.jobs(owner)
        assert found, f"no Job of {owner}"
        return found[-1]

    def jobs(self, owner: kinds.Key) -> list[dict[str, Any]]:
        def number(job: dict[str, Any]) -> int:
            return int(job["metadata"]["resourceVersion"])

        mine = [
            job
            for job in self.cluster.objects(kinds.JOB)
            if job["metadata"]["ownerReferences"][0]["name"] == owner.name
            and job["metadata"]["ownerReferences"][0]["kind"] == owner.kind.name
        ]
        return sorted(mine, key=number)

    def mens_job(self, owner: kinds.Key) -> dict[str, Any]:
        """Return MENS_JOB of the newest Job as JSON."""
        container = self.job(owner)["spec"]["template"]["spec"]["containers"][0]
        env = {item["name"]: item.get("value") for item in container["env"]}
        return dict(json.loads(env[jobs.JOB_ENV]))

    def pod_key(self, job: Mapping[str, Any]) -> kinds.Key:
        return kinds.Key(kinds.POD, job["metadata"]["namespace"], job["metadata"]["name"] + "-x")

    def set_pod(self, job: Mapping[str, Any], status: Mapping[str, Any]) -> None:
        key = self.pod_key(job)
        labels = dict(job["spec"]["template"]["metadata"]["labels"])
        labels["batch.kubernetes.io/job-name"] = job["metadata"]["name"]
        if key not in {kinds.key_of(pod) for pod in self.cluster.objects(kinds.POD)}:
            self.cluster.put(
                {
                    "apiVersion": "v1",
                    "kind": "Pod",
                    "metadata": {
                        "namespace": key.namespace,
                        "name": key.name,
                        "labels": labels,
                        "ownerReferences": [
                            {"kind": "Job", "uid": job["metadata"]["uid"], "controller": True}
                        ],
                    },
                }
            )
        self.cluster.set_status(key, status)

    def timestamp(self) -> str:
        return self.clock.moment.strftime("%Y-%m-%dT%H:%M:%SZ")

    async def start_pod(self, owner: kinds.Key) -> None:
        """Start the pod: Job controller, scheduler and kubelet write, one after the other."""
        job = self.job(owner)
        key = kinds.key_of(job)
        self.cluster.set_status(key, {"active": 1, "startTime": self.timestamp()})
        await self.settle()
        self.set_pod(job, {"phase": "Pending"})
        await self.settle()
        self.set_pod(job, {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]})
        await self.settle()
        self.cluster.set_status(key, {"active": 1, "ready": 1, "startTime": self.timestamp()})
        await self.settle()

    async def end_pod(
        self, owner: kinds.Key, code: int, message: str = "", reason: str = ""
    ) -> None:
        """End the pod; the Job is for a moment neither active nor finished."""
        job = self.job(owner)
        key = kinds.key_of(job)
        terminated = {"exitCode": code, "message": message, "reason": reason}
        phase = "Failed" if code else "Succeeded"
        self.set_pod(
            job,
            {"phase": phase, "containerStatuses": [{"state": {"terminated": terminated}}]},
        )
        await self.settle()
        self.cluster.set_status(key, {"startTime": self.timestamp()})
        await self.settle()
        ended = {"lastTransitionTime": self.timestamp(), "status": "True"}
        condition = (
            {"type": "Failed", "reason": "BackoffLimitExceeded", **ended}
            if code
            else {"type": "Complete", **ended}
        )
        status: dict[str, Any] = {"startTime": self.timestamp(), "conditions": [condition]}
        if not code:
            status |= {"succeeded": 1, "completionTime": self.timestamp()}
        self.cluster.set_status(key, status)
        await self.settle()

    async def build_corpus(self) -> None:
        """Run a corpus from its first Job to its end."""
        await self.start_pod(CORPUS_KEY)
        self.publish(
            self.mens_job(CORPUS_KEY)["output"],
            manifests.Kind.CORPUS,
            details={"fingerprint": "sha256:1", "rows": {"train": 90, "validation": 10}},
        )
        await self.end_pod(CORPUS_KEY, 0)

    async def start_run(self, **spec: Any) -> None:
        """Create a base model, a corpus that has succeeded, and a run with its first Job."""
        self.add_model()
        self.apply(CORPUS)
        self.apply(TRAINRUN, **spec)
        await self.settle()
        await self.build_corpus()

    async def train(
        self, *, base: str | None = None, loss: Mapping[str, float] | None = None
    ) -> digests.Digest:
        """Run a training from its first Job to its end; return the digest of the adapter."""
        await self.start_pod(RUN_KEY)
        work = self.mens_job(RUN_KEY)
        digest = self.publish(
            work["output"],
            manifests.Kind.ADAPTER,
            inputs=(
                manifests.Input(
                    role=manifests.Role.BASE,
                    name="tiny",
                    uri=work["base"]["uri"],
                    digest=digests.Digest.parse(base or work["base"]["digest"]),
                    license_expression="MIT",
                ),
                manifests.Input(
                    role=manifests.Role.CORPUS,
                    name="docs",
                    uri=work["corpus"]["uri"],
                    digest=digests.Digest.parse(work["corpus"]["digest"]),
                    license_expression="MIT",
                ),
            ),
            details={"heldOutLoss": dict(loss or {"before": 3.5, "after": 2.25})},
        )
        await self.end_pod(RUN_KEY, 0)
        return digest

    # -- observations --------------------------------------------------------------------------

    def status(self, key: kinds.Key) -> dict[str, Any]:
        for obj in self.cluster.objects(key.kind):
            if kinds.key_of(obj) == key:
                return dict(obj.get("status") or {})
        raise errors.NotFound(str(key))

    def condition(self, key: kinds.Key, type_: str) -> tuple[str, str, str]:
        for item in self.status(key).get("conditions", ()):
            if item["type"] == type_:
                return item["status"], item["reason"], item["message"]
        return "", "", ""

    def status_and_reason(self, key: kinds.Key, type_: str) -> tuple[str, str]:
        """Return status and reason of a condition."""
        return self.condition(key, type_)[:2]

    def writes(self, *verbs: str) -> list[fake.Write]:
        return [write for write in self.cluster.writes if not verbs or write.verb in verbs]

    def names(self, kind: kinds.Kind) -> list[str]:
        return sorted(obj["metadata"]["name"] for obj in self.cluster.objects(kind))
