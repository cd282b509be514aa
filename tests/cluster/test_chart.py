"""The chart on a real API server: accepted, least privilege in fact, keys and definitions kept."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.support import apiserver, helm

pytestmark = pytest.mark.cluster

RELEASE = "mens"
EVERYTHING = [
    "--set", "devStore.enabled=true,devStore.persistence.enabled=true,replicas=2",
    "--set", "podDisruptionBudget.enabled=true,networkPolicy.enabled=true",
    "--set", "admissionPolicy.enabled=true,admissionPolicy.requireQueueName=true",
    "--set", "admissionPolicy.allowedBuckets={mens},admissionPolicy.maxGpus=2",
]  # fmt: skip


class Release:
    """One release in a namespace with restricted pod security."""

    def __init__(self, cluster: Any, server: apiserver.ApiServer, namespace: str) -> None:
        self.cluster, self.server, self.namespace = cluster, server, namespace

    def helm(self, *words: str) -> str:
        done = helm.run(*words, "-n", self.namespace, kubeconfig=self.cluster.kubeconfig)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def upgrade(self, *words: str) -> str:
        # The definitions may be there from other tests; a release takes them over.
        chart = str(helm.CHART)
        return self.helm("upgrade", "--install", "--take-ownership", RELEASE, chart, *words)

    def get(self, *words: str) -> dict[str, Any]:
        found = self.cluster.kubectl_run("-n", self.namespace, "get", *words, "-o", "json")
        return dict(json.loads(found))

    def can(self, verb: str, resource: str, namespace: str) -> bool:
        account = f"system:serviceaccount:{self.namespace}:mens-operator"
        group, _, name = resource.rpartition("/")
        kind, _, api = (group or resource).partition(".")
        attributes = {"verb": verb, "group": api, "resource": kind, "namespace": namespace}
        if group:
            attributes["subresource" if name == "status" else "name"] = name
        review = {
            "apiVersion": "authorization.k8s.io/v1",
            "kind": "SubjectAccessReview",
            "spec": {"user": account, "resourceAttributes": attributes},
        }
        path = "/apis/authorization.k8s.io/v1/subjectaccessreviews"
        return bool(self.server.call("POST", path, review).body["status"]["allowed"])


@pytest.fixture
def release(control_plane: Any, server: apiserver.ApiServer, namespace: str) -> Iterator[Release]:
    control_plane.kubectl_run(
        "label", "namespace", namespace, "pod-security.kubernetes.io/enforce=restricted"
    )
    yield Release(control_plane, server, namespace)
    helm.run(
        "uninstall", RELEASE, "-n", namespace, "--ignore-not-found",
        kubeconfig=control_plane.kubeconfig,
    )  # fmt: skip


@pytest.mark.parametrize("words", [[], EVERYTHING, ["--set", "watchNamespaces={default}"]])
def test_server_accepts_every_object(words: list[str], release: Release) -> None:
    """Each rendered object passes the server's own validation, strictly."""
    text = release.helm("template", RELEASE, str(helm.CHART), *words)
    release.cluster.kubectl_run(
        "apply", "--dry-run=server", "--server-side", "--force-conflicts",
        "--validate=strict", "-f", "-", stdin=text,
    )  # fmt: skip


def test_pods_pass_restricted_admission(release: Release) -> None:
    """In a namespace that enforces `restricted` the pods are made, not refused."""
    release.upgrade("--set", "devStore.enabled=true")
    release.cluster.kubectl_run(
        "-n", release.namespace, "wait", "pod", "--all", "--for=create", "--timeout=30s"
    )
    names = {each["metadata"]["name"].rsplit("-", 2)[0] for each in release.get("pods")["items"]}
    assert names == {"mens-operator", "mens-dev-store"}


def test_generated_keys_survive_an_upgrade(release: Release) -> None:
    """`helm upgrade` must not lock everybody out of the store."""
    release.upgrade("--set", "devStore.enabled=true")
    before = release.get("secret", "mens-s3")["data"]
    release.upgrade("--set", "devStore.enabled=true,logLevel=DEBUG")
    assert release.get("secret", "mens-s3")["data"] == before
    assert len(before["AWS_SECRET_ACCESS_KEY"]) > 40


def test_uninstall_keeps_definitions_and_resources(
    release: Release, server: apiserver.ApiServer
) -> None:
    """An uninstall must not delete what users made; a new install takes it over."""
    release.upgrade()
    body = {
        "apiVersion": "mens.vox-lang.org/v1alpha1",
        "kind": "MensServe",
        "metadata": {"name": "kept"},
        "spec": {"baseModel": {"uri": "s3://mens/models/m"}},
    }
    path = f"/apis/mens.vox-lang.org/v1alpha1/namespaces/{release.namespace}/mensserves"
    assert server.call("POST", path, body).accepted
    release.helm("uninstall", RELEASE, "--wait")
    assert release.get("mensserve", "kept")["metadata"]["name"] == "kept"
    release.upgrade()


def test_account_may_do_what_it_needs_and_no_more(release: Release) -> None:
    """The server's own authorizer answers for the operator's account."""
    release.upgrade()
    other = "default"
    for verb, resource in (
        ("watch", "menscorpora.mens.vox-lang.org"),
        ("patch", "menstrainruns.mens.vox-lang.org/status"),
        ("create", "jobs.batch"),
        ("patch", "deployments.apps"),
        ("list", "pods"),
        ("create", "events.events.k8s.io"),
    ):
        assert release.can(verb, resource, other), (verb, resource)
    for verb, resource in (
        ("patch", "menscorpora.mens.vox-lang.org"),
        ("get", "secrets"),
        ("create", "pods"),
        ("get", "pods"),
        ("delete", "deployments.apps"),
        ("delete", "services"),
        ("delete", "mensserves.mens.vox-lang.org"),
        ("create", "leases.coordination.k8s.io"),
        ("create", "rolebindings.rbac.authorization.k8s.io"),
        ("get", "customresourcedefinitions.apiextensions.k8s.io"),
    ):
        assert not release.can(verb, resource, other), (verb, resource)
    own = release.namespace
    assert release.can("update", "leases.coordination.k8s.io/mens-operator", own)
    assert not release.can("patch", "leases.coordination.k8s.io/mens-operator", own)
    assert not release.can("update", "leases.coordination.k8s.io/another", own)


def test_namespaced_account_stays_in_its_namespaces(
    release: Release, namespaces: Any, control_plane: Any
) -> None:
    """With watchNamespaces the account has no right anywhere else."""
    inside, outside = namespaces(control_plane), namespaces(control_plane)
    release.upgrade("--set", f"watchNamespaces={{{inside}}}")
    assert release.can("create", "jobs.batch", inside)
    assert not release.can("create", "jobs.batch", outside)
    assert not release.can("list", "menscorpora.mens.vox-lang.org", outside)


def test_editors_of_a_namespace_may_edit_resources(release: Release) -> None:
    """The built-in roles reach our kinds, so nobody has to write roles to start."""
    release.upgrade()
    view = json.dumps(release.get("clusterrole", "mens-operator-view")["rules"])
    assert "menscorpora" in view
    assert "create" not in view
    edit = release.get("clusterrole", "mens-operator-edit")
    assert edit["metadata"]["labels"]["rbac.authorization.k8s.io/aggregate-to-edit"] == "true"


@pytest.mark.parametrize(
    ("plural", "kind", "change", "message"),
    [
        ("menstrainruns", "MensTrainRun", {}, "must go through a queue"),
        ("menstrainruns", "MensTrainRun", {"queueName": "a"}, None),
        (
            "menstrainruns",
            "MensTrainRun",
            {"queueName": "a", "baseModel": {"uri": "s3://other/m"}},
            "these buckets only: mens",
        ),
        (
            "menstrainruns",
            "MensTrainRun",
            {"queueName": "a", "resources": {"cpu": 1, "memory": "1Gi", "gpu": {"count": 3}}},
            "at most 2 GPUs",
        ),
        ("mensserves", "MensServe", {}, None),
    ],
)
def test_admission_policy(
    plural: str,
    kind: str,
    change: dict[str, Any],
    message: str | None,
    release: Release,
    server: apiserver.ApiServer,
) -> None:
    """The optional policy refuses with its sentence, and lets the rest through."""
    # The policy speaks for this namespace only, so that other tests never meet it.
    release.upgrade(*EVERYTHING, "--set", f"watchNamespaces={{{release.namespace}}}")
    spec: dict[str, Any] = {"baseModel": {"uri": "s3://mens/models/m"}}
    if kind == "MensTrainRun":
        spec["corpusRef"] = {"name": "a"}
    probe = {"baseModel": {"uri": "s3://other/m"}}
    helm.wait_until(
        lambda: not server.dry_create(release.namespace, "mensserves", "MensServe", probe).accepted,
        "the policy to take effect",
    )
    answer = server.dry_create(release.namespace, plural, kind, spec | change)
    assert answer.accepted == (message is None), answer.message
    assert message is None or message in answer.message


def test_admission_policy_spares_what_is_there(
    release: Release, server: apiserver.ApiServer
) -> None:
    """A stricter policy keeps nobody from annotating or deleting an older object, only its spec."""
    words = [*EVERYTHING, "--set", f"watchNamespaces={{{release.namespace}}}"]
    release.upgrade(*words)
    runs = f"/apis/mens.vox-lang.org/v1alpha1/namespaces/{release.namespace}/menstrainruns"
    spec = {
        "baseModel": {"uri": "s3://mens/models/m"}, "corpusRef": {"name": "a"}, "queueName": "a",
        "resources": {"cpu": 1, "memory": "1Gi", "gpu": {"count": 2}},
    }  # fmt: skip
    old = {
        "apiVersion": "mens.vox-lang.org/v1alpha1",
        "kind": "MensTrainRun",
        "metadata": {"name": "old", "finalizers": ["mens.vox-lang.org/test"]},
        "spec": spec,
    }
    made = server.call("POST", runs, old)
    assert made.accepted, made.message
    release.upgrade(*words, "--set", "admissionPolicy.maxGpus=1")
    helm.wait_until(
        lambda: (
            not server.dry_create(release.namespace, "menstrainruns", "MensTrainRun", spec).accepted
        ),
        "the stricter policy to take effect",
    )

    def patch(change: dict[str, Any]) -> apiserver.Answer:
        return server.call("PATCH", f"{runs}/old", change, "application/merge-patch+json")

    refused = patch({"spec": {"suspend": True}})
    annotated = patch({"metadata": {"annotations": {"team": "a"}}})
    server.call("DELETE", f"{runs}/old")
    released = patch({"metadata": {"finalizers": []}})
    assert "at most 1 GPUs" in refused.message
    assert annotated.accepted, annotated.message
    assert released.accepted, released.message
    assert server.call("GET", f"{runs}/old").code == 404
