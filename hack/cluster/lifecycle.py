"""Starts and ends embedded clusters."""

import dataclasses
import os
import shutil
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from hack.cluster import (
    api,
    cgroups,
    clusters,
    controlplane,
    dns,
    external,
    folders,
    gobuild,
    image_import,
    kwok,
    leftovers,
    mountpoints,
    pki,
    port_forward,
    sandbox,
    toolsets,
)
from hack.cluster import node as nodes
from hack.support import errors, locks, processes, progress

INSIDE = "https://127.0.0.1:6443"
"""Where components find the API server within the sandbox."""

ANSWER_SECONDS = 30
"""How long an API server on a busy machine may take to answer before it counts as dead."""


@dataclasses.dataclass(frozen=True)
class Status:
    """The status of one cluster."""

    name: str
    alive: bool
    cluster: clusters.Cluster
    components: Mapping[str, str]
    """Each component: `running`, or how it ended."""


def up(
    name: str = "demo",
    *,
    node: bool = True,
    kwok: bool = False,
    extra: Mapping[str, Sequence[str]] | None = None,
) -> clusters.Cluster:
    """Returns a cluster that answers: the user's own, the one that runs already, or a new one.

    Args:
        name: Identifies the cluster on this machine.
        node: Whether pods run for real; without, it is up in half the time.
        kwok: Whether kwok answers for fake nodes.
        extra: More flags per component (`kube-apiserver` → flags); only for a new cluster.

    Raises:
        ToolError: Names what failed and the log, with its last lines.
    """
    theirs = external.find()
    if theirs is not None:
        progress.say(f"Using your cluster at {external.context(theirs)} ({theirs.kubeconfig})")
        return theirs
    with locks.held(_lock(name), lambda: progress.say(f"waiting: {name} is being started")):
        running = _running(name, node=node, kwok=kwok)
        if running is not None:
            return running
        tools = gobuild.ensure(toolsets.needed(node=node, kwok=kwok))
        begun = time.monotonic()
        try:
            cluster = _Bringup(name, tools, extra or {}, node=node, kwok=kwok).run()
        except BaseException:
            # The logs explain the failure: keep them.
            _end(name, keep_logs=True)
            raise
        progress.say(f"Cluster {name} is up ({time.monotonic() - begun:.1f} s)")
        return cluster


def down(name: str = "demo") -> None:
    """Ends a cluster of ours and checks that it left nothing on the machine.

    Raises:
        ToolError: Something is left; the message lists it.
    """
    with locks.held(_lock(name)):
        _end(name, keep_logs=False)
        left = leftovers.find(name)
        if left:
            raise errors.ToolError(f"{name} left these behind:\n" + "\n".join(left))
        _lock(name).unlink(missing_ok=True)


def end_orphans() -> None:
    """Ends clusters of test runs that were killed before their own teardown."""
    for name in clusters.names():
        process = clusters.test_process(name)
        if process is not None and processes.identify(process) is None:
            down(name)


def status(name: str = "demo") -> Status | None:
    """Returns the status of a cluster; None if it does not exist."""
    cluster = clusters.load(name)
    if cluster is None:
        return None
    if not cluster.alive() or cluster.sandbox is None or cluster.parent is None:
        return Status(name, cluster.alive(), cluster, {})
    box = sandbox.Sandbox(cluster.run, cluster.parent, cluster.sandbox)
    ended = {each: f"ended with status {code}" for each, code in box.ended().items()}
    return Status(name, True, cluster, {**dict.fromkeys(box.running(), "running"), **ended})


class _Bringup:
    """One bring-up, step by step; each step prints the time it took."""

    def __init__(
        self,
        name: str,
        tools: gobuild.Toolbox,
        extra: Mapping[str, Sequence[str]],
        *,
        node: bool,
        kwok: bool,
    ) -> None:
        self._name = name
        self._tools = tools
        self._with_node = node
        self._with_kwok = kwok
        self._run = folders.run(name)
        self._pki = self._run / "pki"
        self._scratch = folders.scratch(name)
        plane_data = self._scratch / "etcd"
        self._plane = controlplane.ControlPlane(self._pki, plane_data, extra)

    def run(self) -> clusters.Cluster:
        """Runs all steps and writes the record by which `down` and `status` find the cluster."""
        with progress.step("certificates"):
            self._prepare()
        store_lock, store = self._store() if self._with_node else (None, self._scratch)
        try:
            with progress.step("sandbox"), mountpoints.guarded():
                held = () if store_lock is None else (store_lock,)
                box = sandbox.create(self._name, clusters.NODE_NAME, held)
                cluster = self._record(box)
                clusters.save(cluster)
        finally:
            if store_lock is not None:
                os.close(store_lock)
        self._start(box, self._open_api_forward(box), store)
        cluster = dataclasses.replace(cluster, ready=True)
        clusters.save(cluster)
        return cluster

    def _start(self, box: sandbox.Sandbox, client: api.Client, store: Path) -> None:
        controlplane.start(box, self._plane, self._tools)
        node = self._node(store) if self._with_node else None
        if node is not None:
            with progress.step("container runtime"):
                nodes.start_runtime(box, node)
                image_import.ensure(node.containerd_socket, *image_import.pause(self._tools))
        with progress.step("control plane"):
            controlplane.wait_ready(box, client)
        if self._with_kwok:
            kwok.start(box, self._tools)
        if node is not None:
            with progress.step("node"):
                nodes.start_agents(box, node, self._tools)
                dns.start(box, client, self._tools)
                nodes.wait_ready(box, node, client)

    def _prepare(self) -> None:
        _end(self._name, keep_logs=False)
        self._run.mkdir(parents=True)
        self._scratch.mkdir(parents=True)
        wanted = pki.identities(clusters.NODE_NAME, sandbox.NODE_IP)
        pki.create(self._pki, wanted)
        for user in ("admin", "controller-manager", "scheduler", "kube-proxy", "kubelet"):
            text = pki.kubeconfig(self._pki, user, INSIDE)
            pki.write_kubeconfig(self._pki / f"{user}.kubeconfig", text)

    def _open_api_forward(self, box: sandbox.Sandbox) -> api.Client:
        port = port_forward.open_to(
            box, controlplane.API_FORWARD, "127.0.0.1:6443", port_forward.listen()
        )
        server = f"https://127.0.0.1:{port}"
        (self._run / "server").write_text(server + "\n")
        text = pki.kubeconfig(self._pki, "admin", server)
        pki.write_kubeconfig(self._run / "kubeconfig", text)
        return api.Client(server, self._pki)

    def _store(self) -> tuple[int | None, Path]:
        """Takes the kept container store, or a private one while another cluster uses it."""
        kept = folders.container_store()
        lock = locks.try_hold(kept.with_suffix(".lock"))
        if lock is not None:
            return lock, kept
        progress.say(
            f"  ! another cluster uses the images in {kept}: "
            f"{self._name} gets its own store, and its images must be imported again"
        )
        return None, self._scratch / "containerd"

    def _node(self, store: Path) -> nodes.Node:
        pause_image, _ = image_import.pause(self._tools)
        return nodes.Node(
            self._name, clusters.NODE_NAME, self._run, self._scratch, store, pause_image
        )

    def _record(self, box: sandbox.Sandbox) -> clusters.Cluster:
        return clusters.Cluster(
            name=self._name,
            kind=clusters.Kind.EMBEDDED,
            kubeconfig=self._run / "kubeconfig",
            kubectl=self._tools.program("kubectl"),
            helm=self._tools.program("helm"),
            run=self._run,
            node=self._with_node,
            kwok=self._with_kwok,
            ready=False,
            sandbox=box.init,
            parent=box.parent,
        )


def _running(name: str, *, node: bool, kwok: bool) -> clusters.Cluster | None:
    cluster = clusters.load(name)
    if cluster is None or not cluster.alive():
        return None
    if (node and not cluster.node) or (kwok and not cluster.kwok):
        raise errors.ToolError(
            f"{name} runs with node={cluster.node}, kwok={cluster.kwok}; asked for node={node}, "
            f"kwok={kwok}: end it first (`python -m hack.cluster down --name {name}`)"
        )
    broken = _broken(cluster)
    if broken:
        progress.say(f"Cluster {name} is started again: {broken}")
        return None
    progress.say(f"Cluster {name} is already up")
    return cluster


def _broken(cluster: clusters.Cluster) -> str:
    """Returns why a running sandbox is not a working cluster; empty when it is one."""
    if not cluster.ready or cluster.sandbox is None or cluster.parent is None:
        return "its start was interrupted"
    box = sandbox.Sandbox(cluster.run, cluster.parent, cluster.sandbox)
    client = api.Client((cluster.run / "server").read_text().strip(), cluster.run / "pki")
    try:
        if cluster.node:
            box.check(*nodes.COMPONENTS)
        controlplane.wait_ready(box, client, ANSWER_SECONDS)
    except (errors.ToolError, OSError) as error:
        return str(error).partition("\n")[0]
    return ""


def _end(name: str, *, keep_logs: bool) -> None:
    """Kills the sandbox and removes folders and groups; needs no record of a finished start."""
    cluster = clusters.load(name)
    recorded = () if cluster is None else (cluster.sandbox, cluster.parent)
    # A start that was killed early has a sandbox and no record of it.
    unrecorded = [each for top in leftovers.sandboxes(name) for each in (*top.children(), top)]
    for process in (*recorded, *unrecorded):
        if process is not None:
            process.kill()
    cgroups.remove(name)
    run = folders.run(name)
    for path in sorted(run.iterdir()) if run.exists() else ():
        if not (keep_logs and path.name == "logs"):
            _remove(path)
    if run.exists() and not keep_logs:
        run.rmdir()
    _remove(folders.scratch(name))
    mountpoints.remove_if_unused()


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _lock(name: str) -> Path:
    return folders.run_root() / f".{folders.checked(name)}.lock"
