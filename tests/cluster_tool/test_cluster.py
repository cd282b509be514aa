"""A real cluster: it comes up, does what a cluster does, and leaves nothing."""

import json
import os
import signal
import subprocess
import sys
import urllib.request
from pathlib import Path
from typing import Any

import pytest

import hack.cluster
from hack.cluster import clusters, containers, leftovers, lifecycle, oci, sandbox
from hack.support import errors, wait

SECURE = {
    "readOnlyRootFilesystem": True,
    "allowPrivilegeEscalation": False,
    "capabilities": {"drop": ["ALL"]},
}


def _pod(name: str, image: str, *arguments: str) -> dict[str, Any]:
    """A pod that satisfies the restricted standard."""
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "labels": {"app": name}},
        "spec": {
            "restartPolicy": "OnFailure",
            "securityContext": {
                "runAsNonRoot": True,
                "runAsUser": 65532,
                "seccompProfile": {"type": "RuntimeDefault"},
            },
            "containers": [
                {
                    "name": "main",
                    "image": image,
                    "imagePullPolicy": "IfNotPresent",
                    "args": list(arguments),
                    "securityContext": SECURE,
                    "resources": {"requests": {"cpu": "10m"}},
                }
            ],
        },
    }


def _image(cluster: clusters.Cluster) -> str:
    return next(name for name in hack.cluster.images(cluster) if "mens/pause" in name)


def _apply(cluster: clusters.Cluster, namespace: str, wanted: dict[str, Any]) -> None:
    cluster.kubectl_run("apply", "-n", namespace, "-f", "-", stdin=json.dumps(wanted))


def _finished(cluster: clusters.Cluster, namespace: str, pod: str) -> str:
    """Waits until a pod succeeded and returns what it printed."""
    cluster.kubectl_run(
        *("wait", "-n", namespace, f"pod/{pod}", "--timeout=60s"),
        "--for=jsonpath={.status.phase}=Succeeded",
    )
    return cluster.kubectl_run("logs", "-n", namespace, pod)


@pytest.mark.cluster
def test_objects_live_in_a_namespace_of_the_test(
    control_plane: clusters.Cluster, namespace: str
) -> None:
    """A control plane alone takes objects and runs its controllers."""
    control_plane.kubectl_run("create", "configmap", "x", "-n", namespace)
    control_plane.kubectl_run("get", "configmap", "x", "-n", namespace)
    assert '"gitVersion": "v1.36.3"' in control_plane.kubectl_run("version", "-o", "json")


@pytest.mark.cluster
def test_second_up_finds_the_first(control_plane: clusters.Cluster) -> None:
    """`up` is idempotent."""
    assert lifecycle.up(control_plane.name, node=False) == control_plane


@pytest.mark.cluster
def test_asking_a_running_cluster_for_more_is_an_error(control_plane: clusters.Cluster) -> None:
    """A cluster without a node does not silently pass for one with it."""
    with pytest.raises(errors.ToolError, match="end it first"):
        lifecycle.up(control_plane.name, node=True)


@pytest.mark.node
def test_restricted_pod_runs(node_cluster: clusters.Cluster, namespace: str) -> None:
    """A pod under the restricted standard runs and finds the cluster's names."""
    level = "pod-security.kubernetes.io/enforce=restricted"
    node_cluster.kubectl_run("label", "namespace", namespace, level)
    pod = _pod("ask", _image(node_cluster), "lookup", "kubernetes.default.svc.cluster.local")
    _apply(node_cluster, namespace, pod)
    assert "10.96.0.1" in _finished(node_cluster, namespace, "ask")


@pytest.mark.node
def test_service_is_reached_from_pods_and_from_the_host(
    node_cluster: clusters.Cluster, namespace: str
) -> None:
    """Pods use a service's name; the host uses a forwarded port."""
    image = _image(node_cluster)
    _apply(node_cluster, namespace, _pod("server", image, "listen", ":8080"))
    node_cluster.kubectl_run(
        "expose", "-n", namespace, "pod/server", "--port=80", "--target-port=8080"
    )
    node_cluster.kubectl_run(
        "wait", "-n", namespace, "pod/server", "--for=condition=Ready", "--timeout=60s"
    )
    _apply(node_cluster, namespace, _pod("ask", image, "get", f"http://server.{namespace}/"))
    assert _finished(node_cluster, namespace, "ask") == "hello from server\n"
    port = hack.cluster.forward(node_cluster, f"server.{namespace}:80")
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(f"http://127.0.0.1:{port}/", timeout=10) as answer:
        assert answer.read() == b"hello from server\n"


@pytest.mark.node
def test_unknown_names_are_answered_at_once(node_cluster: clusters.Cluster, namespace: str) -> None:
    """There is no uplink: a foreign name fails, and does not hang."""
    _apply(node_cluster, namespace, _pod("hold", _image(node_cluster)))
    node_cluster.kubectl_run(
        "wait", "-n", namespace, "pod/hold", "--for=condition=Ready", "--timeout=60s"
    )
    ask = ("exec", "-n", namespace, "hold", "--", "/pause", "lookup", "example.com")
    with pytest.raises(errors.ToolError, match="no such host"):
        node_cluster.kubectl_run(*ask)


@pytest.mark.node
def test_images_are_imported_once(node_cluster: clusters.Cluster, tmp_path: Path) -> None:
    """The second import of the same archive does nothing."""
    name = f"localhost/mens-test/image:{os.getpid()}"
    oci.write(tmp_path / "a.tar", name, {"x": os.urandom(64)}, ["/x"])
    assert not hack.cluster.import_image(node_cluster, tmp_path / "a.tar").skipped
    assert name in hack.cluster.images(node_cluster)
    assert hack.cluster.import_image(node_cluster, tmp_path / "a.tar").skipped
    containers.ctr(node_cluster.run / "containerd.sock", "images", "delete", name)


@pytest.mark.node
def test_fake_gpus_are_schedulable(node_cluster: clusters.Cluster, namespace: str) -> None:
    """A pod that asks for a GPU is placed once the node claims to have some."""
    hack.cluster.patch_node_capacity(node_cluster, "nvidia.com/gpu", 2)
    pod = _pod("gpu", _image(node_cluster))
    pod["spec"]["containers"][0]["resources"]["limits"] = {"nvidia.com/gpu": "1"}
    _apply(node_cluster, namespace, pod)
    wait = ("wait", "-n", namespace, "pod/gpu", "--for=condition=PodScheduled", "--timeout=30s")
    node_cluster.kubectl_run(*wait)


@pytest.mark.cluster
def test_kwok_completes_jobs(kwok_cluster: clusters.Cluster, namespace: str) -> None:
    """A Job of fifty pods on fake nodes finishes without running anything."""
    hack.cluster.add_fake_nodes(kwok_cluster, 2)
    template = _pod("x", "localhost/none:1")
    job = {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": "many"},
        "spec": {
            "parallelism": 50,
            "completions": 50,
            "template": {"spec": template["spec"]},
        },
    }
    _apply(kwok_cluster, namespace, job)
    kwok_cluster.kubectl_run(
        "wait", "-n", namespace, "job/many", "--for=condition=Complete", "--timeout=60s"
    )


@pytest.mark.node
def test_down_leaves_nothing_and_the_next_start_finds_no_old_container() -> None:
    """After `down` no process, mount, group, folder or mount point is left, whatever pods ran.

    The kept image store, which outlives the cluster, lists none of its containers.
    """
    name = f"test-{os.getpid()}-gone"
    cluster = lifecycle.up(name)
    assert cluster.parent is not None
    assert cluster.sandbox is not None
    box = sandbox.Sandbox(cluster.run, cluster.parent, cluster.sandbox)
    _apply(cluster, "default", _pod("hold", _image(cluster)))
    cluster.kubectl_run("wait", "pod/hold", "--for=condition=Ready", "--timeout=60s")
    lifecycle.down(name)
    assert leftovers.find(name) == []
    assert not box.init.alive()
    assert not box.parent.alive()
    assert clusters.load(name) is None
    second = lifecycle.up(name)
    try:
        socket = second.run / "containerd.sock"
        assert containers.ctr(socket, "containers", "list", "-q") == ""
    finally:
        lifecycle.down(name)


@pytest.mark.cluster
def test_failed_component_is_reported_with_its_log(
    roots: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A component that ends at its start fails the step at once, with the reason from its log."""
    monkeypatch.undo()
    name = f"test-{os.getpid()}-bad"
    with pytest.raises(errors.ToolError, match="unknown flag: --no-such-flag"):
        lifecycle.up(name, node=False, extra={"kube-apiserver": ["--no-such-flag"]})
    lifecycle.down(name)


BRING_UP = "from hack.cluster import lifecycle; lifecycle.up({name!r}, node=False)"


@pytest.mark.cluster
@pytest.mark.usefixtures("default_signals")
def test_an_interrupted_start_is_replaced_by_the_next() -> None:
    """Its sandbox survives without ever being ready: it does not count as a cluster.

    Each start replaces the one that was interrupted before, by whatever signal.
    """
    name = f"test-{os.getpid()}-half"
    replaced: list[clusters.Cluster] = []
    try:
        for ending in (signal.SIGKILL, signal.SIGTERM, signal.SIGHUP):
            replaced.append(_interrupted_start(name, ending, replaced))
        whole = lifecycle.up(name, node=False)
        assert whole.sandbox not in [half.sandbox for half in replaced]
        assert not any(half.alive() for half in replaced)
        whole.kubectl_run("get", "namespaces")
    finally:
        lifecycle.down(name)


def _interrupted_start(
    name: str, ending: signal.Signals, before: list[clusters.Cluster]
) -> clusters.Cluster:
    """Starts a cluster, ends the start once it has written its record; returns what is left."""
    starting = subprocess.Popen([sys.executable, "-c", BRING_UP.format(name=name)])

    def recorded() -> bool:
        found = clusters.load(name)
        return found is not None and found.sandbox not in [each.sandbox for each in before]

    wait.until("the record", recorded, 30, 0.01)
    starting.send_signal(ending)
    assert starting.wait(20) != 0
    half = clusters.load(name)
    assert half is not None
    assert half.alive()
    assert not half.ready
    return half


DIES_EARLY = """
import os
from hack.cluster import clusters
clusters.save = lambda _: os.kill(os.getpid(), 9)
"""


@pytest.mark.cluster
def test_a_sandbox_without_a_record_is_ended() -> None:
    """A start that was killed before it wrote anything down leaves nothing after `down`."""
    name = f"test-{os.getpid()}-stray"
    code = DIES_EARLY + BRING_UP.format(name=name)
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == -signal.SIGKILL
    [stray] = leftovers.sandboxes(name)
    assert clusters.load(name) is None
    lifecycle.down(name)
    assert not stray.alive()


@pytest.mark.cluster
def test_a_broken_cluster_is_started_again() -> None:
    """Without its API server, or without its sandbox, which `status` reports."""
    name = f"test-{os.getpid()}-broken"
    first = lifecycle.up(name, node=False)
    try:
        assert first.sandbox is not None
        assert first.parent is not None
        box = sandbox.Sandbox(first.run, first.parent, first.sandbox)
        inside = str(box.running()["kube-apiserver"])
        subprocess.run([*sandbox.enter(box.init.pid), "kill", "-9", inside], check=True)
        wait.until("the end", lambda: "kube-apiserver" in box.ended(), 10)
        second = lifecycle.up(name, node=False)
        second.kubectl_run("get", "namespaces")
        assert second.sandbox is not None
        second.sandbox.kill()
        wait.until("death", lambda: not second.alive(), 10)
        shown = lifecycle.status(name)
        assert shown is not None
        assert not shown.alive
        assert lifecycle.up(name, node=False).sandbox != second.sandbox
    finally:
        lifecycle.down(name)
