"""The programs of the cluster as data: module, version, and the cache key of each result."""

import dataclasses
import hashlib
from pathlib import Path

from hack.support import errors, paths

MODULES = paths.REPOSITORY / "hack" / "cluster" / "modules"
"""One Go module per toolset, since they pin versions that conflict."""

KUBERNETES = "v1.36.3"
"""The server's version, also set in the binaries, which would otherwise report v0.0.0."""


@dataclasses.dataclass(frozen=True)
class Toolset:
    """Programs that come from one Go module definition."""

    name: str
    """Also the name of the folder below modules/."""

    programs: dict[str, str]
    """File name of each binary and the package it is built from."""

    ldflags: str = "-s -w"
    """Without symbols and debug tables: a third of the size, and links need less memory."""

    seconds: int = 60
    """How long a cold build took on two cores: the estimate until this machine has its own."""

    def key(self, go_version: str) -> str:
        """Returns the cache key: the same inputs and compiler give the same programs."""
        digest = hashlib.sha256()
        for path in self.sources():
            content = path.read_bytes()
            digest.update(f"{path.name} {len(content)}\n".encode() + content)
        recipe = (
            self.ldflags,
            sorted(self.programs.items()),
            go_version,
            FLAGS,
            sorted(ENV.items()),
        )
        digest.update(repr(recipe).encode())
        return digest.hexdigest()[:16]

    def sources(self) -> list[Path]:
        """Returns the files that define the module, in a fixed order."""
        folder = MODULES / self.name
        found = [*folder.glob("go.mod"), *folder.glob("go.sum"), *sorted(folder.glob("*.go"))]
        if not found:
            raise errors.ToolError(f"{folder} has no go.mod: toolset {self.name} cannot be built")
        return found


FLAGS = ("-trimpath", "-mod=readonly", "-buildvcs=false")
"""trimpath makes the result independent of folders; readonly keeps go from editing go.mod."""

ENV = {"CGO_ENABLED": "0", "GOTOOLCHAIN": "local", "GOWORK": "off", "GOFLAGS": ""}
"""Static programs without a C compiler, and no silent download of another Go."""

_KUBERNETES_PROGRAMS = (
    "kube-apiserver",
    "kube-controller-manager",
    "kube-proxy",
    "kube-scheduler",
    "kubectl",
    "kubelet",
)

TOOLSETS = {
    toolset.name: toolset
    for toolset in (
        Toolset(
            "k8s",
            {name: f"k8s.io/kubernetes/cmd/{name}" for name in _KUBERNETES_PROGRAMS},
            ldflags=f"-s -w -X k8s.io/component-base/version.gitVersion={KUBERNETES}",
            seconds=420,
        ),
        Toolset("etcd", {"etcd": "go.etcd.io/etcd/server/v3"}, seconds=50),
        Toolset("helm", {"helm": "helm.sh/helm/v4/cmd/helm"}, seconds=150),
        Toolset("coredns", {"coredns": "."}, seconds=75),
        Toolset("pause", {"pause": "."}, seconds=10),
        Toolset("kwok", {"kwok": "sigs.k8s.io/kwok/cmd/kwok"}, seconds=90),
        Toolset("jobset", {"jobset": "sigs.k8s.io/jobset"}, seconds=110),
        Toolset(
            "trainer",
            {
                "trainer-controller-manager": (
                    "github.com/kubeflow/trainer/v2/cmd/trainer-controller-manager"
                )
            },
            seconds=110,
        ),
        Toolset("argocd", {"argocd": "github.com/argoproj/argo-cd/v3/cmd"}, seconds=360),
    )
}

CONTROL_PLANE = ("etcd", "k8s", "helm")
"""What a cluster without a node needs, with the client tools."""

NODE = (*CONTROL_PLANE, "coredns", "pause")
"""What a cluster with a real node needs."""


def needed(*, node: bool, kwok: bool) -> tuple[str, ...]:
    """Returns the toolsets for a cluster of this shape."""
    return (NODE if node else CONTROL_PLANE) + (("kwok",) if kwok else ())


def named(name: str) -> Toolset:
    """Returns a toolset by name; the error lists all names."""
    try:
        return TOOLSETS[name]
    except KeyError:
        raise errors.ToolError(
            f"unknown toolset {name!r}; choose from {', '.join(TOOLSETS)}"
        ) from None
