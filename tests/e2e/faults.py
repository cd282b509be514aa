"""Injected faults: one class for each kind of bad input, with its repair."""

from __future__ import annotations

import base64
import dataclasses
import json
import tempfile
from pathlib import Path
from typing import Any, ClassVar

from hack.demo import kubectl, platform
from mens.artifacts import digests, manifests, publisher, refs, s3
from tests.e2e import resources
from tests.support import models


@dataclasses.dataclass(frozen=True)
class Stage:
    """Where one fault is injected."""

    kube: kubectl.Kubectl
    """The cluster with the platform on it."""
    storage: platform.Storage
    """Its store."""
    base: str
    """URI of a base model that is as it should be."""
    space: str
    """A namespace of the fault's own; also the name of its folders in the bucket."""

    @property
    def target(self) -> s3.S3Store:
        """A client of the store."""
        return self.storage.store

    def uri(self, folder: str) -> str:
        """A folder of this fault's own in the bucket."""
        return f"s3://mens/{folder}/{self.space}"

    def put(self, uri: str, data: bytes) -> None:
        """Write one object."""
        self.target.put_bytes(refs.Uri.parse(uri), data)

    def upload_sources(self, folder: str) -> None:
        """Put four modules with documented functions into a folder."""
        for number in range(4):
            text = resources.functions(3).replace("add_", f"add_{number}_")
            self.put(f"{self.uri(folder)}/m{number}.py", text.encode())

    def import_model(self, uri: str, seed: int, terms: bytes, *more: str) -> None:
        """Import a tiny random model under the terms of a license file."""
        with tempfile.TemporaryDirectory() as scratch:
            folder = models.tiny(Path(scratch, "model"), seed=seed)
            file = Path(scratch, "TERMS")
            file.write_bytes(terms)
            upstream = platform.Upstream("tiny", f"mens/{self.space}", "1")
            platform.import_model(self.storage, folder, uri, upstream, file, *more)


class Fault:
    """One kind of bad input and its repair."""

    kind: ClassVar[str]
    """Kind of the resource that reports it."""
    name: ClassVar[str]
    """Its name."""
    reported: ClassVar[tuple[str, str]]
    """Condition and reason while the cause exists."""
    words: ClassVar[tuple[str, ...]]
    """Words that the message must contain: the field, the value or the fix."""
    recovered: ClassVar[tuple[str, str]]
    """Condition and reason once the cause is gone."""

    def inject(self, at: Stage) -> None:
        """Injects the fault."""
        raise NotImplementedError

    def repair(self, at: Stage) -> None:
        """Removes the cause, as a user would."""
        raise NotImplementedError


class _OfCorpus(Fault):
    kind, name, recovered = "menscorpus", "corpus", ("Succeeded", "Succeeded")


class _OfRun(Fault):
    kind, name = "menstrainrun", "run"


class _OfServe(Fault):
    kind, name, recovered = "mensserve", "serve", ("Ready", "Serving")


class MissingSource(_OfCorpus):
    """A source that does not exist; it is uploaded later."""

    reported = ("SourcesReady", "SourceNotFound")
    words = ("s3://mens/late/",)

    def inject(self, at: Stage) -> None:
        at.kube.apply(resources.corpus(at.space, at.uri("late") + "/"))

    def repair(self, at: Stage) -> None:
        at.upload_sources("late")


class EmptyCorpus(_OfCorpus):
    """A source without a single documented function; some are added."""

    reported = ("Succeeded", "EmptyCorpus")
    words = ("dataset is empty",)

    def inject(self, at: Stage) -> None:
        at.put(at.uri("empty") + "/empty.py", b"x = 1\n")
        at.kube.apply(resources.corpus(at.space, at.uri("empty") + "/"))

    def repair(self, at: Stage) -> None:
        at.upload_sources("empty")


class WrongCredentials(_OfCorpus):
    """Credentials that the store refuses; the Secret is corrected."""

    reported = ("StorageReady", "StorageDenied")
    words = ("access key",)
    secret: ClassVar = "hidden-but-wrong"

    def inject(self, at: Stage) -> None:
        wrong = base64.b64encode(self.secret.encode()).decode()
        self._apply(at, {"AWS_SECRET_ACCESS_KEY": wrong})
        at.upload_sources("denied")
        at.kube.apply(resources.corpus(at.space, at.uri("denied") + "/"))

    def repair(self, at: Stage) -> None:
        self._apply(at, {})

    def _apply(self, at: Stage, changes: dict[str, str]) -> None:
        good = at.kube.get(platform.SYSTEM, "secret", platform.SECRET)
        assert good is not None
        metadata = {"name": platform.SECRET, "namespace": at.space}
        secret = {"apiVersion": "v1", "kind": "Secret", "metadata": metadata}
        at.kube.apply({**secret, "data": {**good["data"], **changes}})


class UnknownLicense(_OfRun):
    """A base whose license text nobody reviewed; it is imported again with a known one."""

    reported = ("LicenseCleared", "LicenseUnknown")
    words = ("mens model import",)
    recovered = ("Succeeded", "Succeeded")

    def inject(self, at: Stage) -> None:
        at.upload_sources("sources")
        at.kube.apply(resources.corpus(at.space, at.uri("sources") + "/"))
        terms = b"You may do whatever Bob likes.\n"
        at.import_model(at.uri("models"), 3, terms, "--allow-unknown")
        at.kube.apply(resources.train_run(at.space, at.uri("models")))

    def repair(self, at: Stage) -> None:
        at.target.delete(refs.Uri.parse(at.uri("models") + "/manifest.json"))
        at.import_model(at.uri("models"), 3, resources.LICENSE.read_bytes())


class Pickle(_OfRun):
    """A model folder with a file that could run code; a real import takes its place."""

    reported = ("Validated", "PickleRefused")
    words = ("pytorch_model.bin", "safetensors")
    recovered = ("Validated", "CorpusNotFound")

    def inject(self, at: Stage) -> None:
        at.put(at.uri("models") + "/config.json", b"{}")
        at.put(at.uri("models") + "/pytorch_model.bin", b"\x80\x04.")
        at.kube.apply(resources.train_run(at.space, at.uri("models")))

    def repair(self, at: Stage) -> None:
        at.import_model(at.uri("models"), 4, resources.LICENSE.read_bytes())


class ImpossibleGpu(_OfCorpus):
    """GPUs that no node has; a node gets them."""

    reported = ("Running", "Unschedulable")
    words = ("nvidia.com/gpu", "spec.resources")

    def inject(self, at: Stage) -> None:
        at.upload_sources("gpu")
        manifest = resources.corpus(at.space, at.uri("gpu") + "/")
        manifest["spec"]["resources"]["gpu"] = {"count": 8}
        at.kube.apply(manifest)

    def repair(self, at: Stage) -> None:
        node = at.kube("get", "nodes", "-o", "name").split()[0]
        change = [{"op": "add", "path": "/status/capacity/nvidia.com~1gpu", "value": "8"}]
        words = ("patch", node, "--subresource=status", "--type=json", "-p", json.dumps(change))
        at.kube(*words)


class TamperedManifest(_OfServe):
    """An adapter whose manifest has other bytes than its digest says; they are put back."""

    reported = ("AdaptersReady", "DigestMismatch")
    words = ("s3://mens/runs/", "restore it")

    def inject(self, at: Stage) -> None:
        ref = _publish_adapter(at)
        good = at.target.get_bytes(_manifest_of(ref))
        at.put(f"{at.uri('kept')}/manifest.json", good)
        at.put(str(_manifest_of(ref)), good.replace(b"Apache-2.0", b"Apache-2.1"))
        at.kube.apply(_serving(at, at.base, ref))

    def repair(self, at: Stage) -> None:
        good = at.target.get_bytes(refs.Uri.parse(f"{at.uri('kept')}/manifest.json"))
        at.put(at.uri("runs") + "/manifest.json", good)


class OtherBase(_OfServe):
    """An adapter of another base; the endpoint is given the right one."""

    reported = ("AdaptersReady", "BaseMismatch")
    words = ("adapter", "Train it on this base")

    def inject(self, at: Stage) -> None:
        at.import_model(at.uri("models"), 2, resources.LICENSE.read_bytes())
        at.kube.apply(_serving(at, at.uri("models"), _publish_adapter(at)))

    def repair(self, at: Stage) -> None:
        ref = publisher.existing(at.target, refs.Uri.parse(at.uri("runs")))
        assert ref is not None
        at.kube.apply(_serving(at, at.base, ref))


def _serving(at: Stage, base: str, ref: refs.ArtifactRef) -> dict[str, Any]:
    return resources.serve(at.space, base, {"artifact": ref.model_dump(mode="json")})


def _manifest_of(ref: refs.ArtifactRef) -> refs.Uri:
    return ref.uri / "manifest.json"


def _publish_adapter(at: Stage) -> refs.ArtifactRef:
    """Publish a random adapter of the good base, as a train run would."""
    _, digest = manifests.read(at.target, refs.Uri.parse(at.base))
    made_of = manifests.Input(
        role=manifests.Role.BASE,
        name="tiny",
        uri=at.base,
        digest=digests.Digest.parse(str(digest)),
        license_expression="Apache-2.0",
    )
    draft = manifests.Manifest(
        kind=manifests.Kind.ADAPTER,
        name=at.space,
        inputs=(made_of,),
        upstream=manifests.Upstream(family="tiny", model_id="mens/tiny", revision="1"),
        compliance=manifests.Compliance(
            license_expression="Apache-2.0",
            license_class=manifests.LicenseClass.PERMISSIVE_WITH_ATTRIBUTION,
            attribution_required=manifests.Attribution.YES,
        ),
        producer=manifests.Producer(image="local"),
    )
    with tempfile.TemporaryDirectory() as scratch:
        folder = models.adapter(Path(scratch, "adapter"), seed=1)
        return publisher.publish(at.target, refs.Uri.parse(at.uri("runs")), folder, draft)


ALL: tuple[type[Fault], ...] = (
    MissingSource,
    EmptyCorpus,
    WrongCredentials,
    UnknownLicense,
    Pickle,
    ImpossibleGpu,
    TamperedManifest,
    OtherBase,
)
"""Every fault that can be made beside others; a store that is away concerns them all."""
