"""The chart, rendered: restricted pods, least privilege, strict values, and golden objects."""

from __future__ import annotations

import base64
import json
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from mens.crdgen import definitions
from tests.support import goldens, helm

GOLDEN = Path(__file__).parent / "golden"
KEYS = ["--set", "devStore.accessKeyId=id,devStore.secretAccessKey=key"]
EVERYTHING = [
    *KEYS,
    "--set", "devStore.enabled=true,devStore.persistence.enabled=true,replicas=2",
    "--set", "podDisruptionBudget.enabled=true,networkPolicy.enabled=true",
    "--set", "admissionPolicy.enabled=true,admissionPolicy.requireQueueName=true",
    "--set", "admissionPolicy.allowedBuckets={mens,models}",
    "--set", "s3.caConfigMap=store-ca,jobs.serviceAccountName=mens-jobs",
    "--set", "jobs.retrySeconds.input=5:30,s3.jobsEndpoint=http://store:8333",
    "--set", "extraLabels.team=a",
]  # fmt: skip
CASES = {
    "default": [],
    "everything": EVERYTHING,
    "namespaced": ["--set", "watchNamespaces={team-a,team-b},rbac.aggregateToDefaultRoles=false"],
}


def pods(objects: list[helm.Object]) -> Iterator[helm.Object]:
    for found in objects:
        if found["kind"] == "Deployment":
            yield found["spec"]["template"]["spec"]


@pytest.mark.parametrize("case", CASES)
def test_golden(case: str, golden: goldens.Golden) -> None:
    """What the values render to; `pytest --update-expected` rewrites the files."""
    objects = helm.template("--set", "crds.enabled=false", *CASES[case])
    text = yaml.safe_dump_all(objects, sort_keys=True)
    golden.check(GOLDEN / f"{case}.yaml", text)


@pytest.mark.parametrize("case", CASES)
def test_lint(case: str) -> None:
    """`helm lint --strict` has nothing to say."""
    done = helm.run("lint", "--strict", str(helm.CHART), *CASES[case])
    assert done.returncode == 0, done.stdout


def test_definitions_are_part_of_the_chart_and_stay() -> None:
    """CRDs are upgraded by Helm and survive an uninstall, unless that is turned off."""
    names = {definitions.name_of(each) for each in definitions.RESOURCES}

    def found(*words: str) -> dict[str, Any]:
        return {
            each["metadata"]["name"]: (each["metadata"]["annotations"] or {}, each["spec"])
            for each in helm.template(*words)
            if each["kind"] == "CustomResourceDefinition"
        }

    installed = found()
    assert set(installed) == names
    for each in definitions.RESOURCES:
        annotations, spec = installed[definitions.name_of(each)]
        assert annotations == {"helm.sh/resource-policy": "keep"}
        assert spec == definitions.definition_of(each)["spec"]
    assert found("--set", "crds.enabled=false") == {}
    assert found("--set", "crds.keep=false")[names.pop()][0] == {}


def test_pods_are_restricted() -> None:
    """Non-root, read-only root, no capability, seccomp, no service links, memory limited."""
    for pod in pods(helm.template(*EVERYTHING)):
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert pod["securityContext"]["runAsUser"] == 10001
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert pod["enableServiceLinks"] is False
        for container in pod["containers"]:
            assert container["securityContext"] == {
                "allowPrivilegeEscalation": False,
                "readOnlyRootFilesystem": True,
                "capabilities": {"drop": ["ALL"]},
            }
            assert "memory" in container["resources"]["limits"]
            assert not container["image"].endswith(":latest")
            assert container["livenessProbe"]
            assert container["readinessProbe"]


def test_no_right_is_broader_than_named() -> None:
    """No wildcard, no secrets, no writes to the spec of our resources, no pods to write."""
    for case in CASES.values():
        for role in helm.template(*case):
            if role["kind"] not in ("Role", "ClusterRole") or "aggregate" in str(role):
                continue
            for rule in role["rules"]:
                for part in ("apiGroups", "resources", "verbs"):
                    assert "*" not in rule[part]
                assert not {"secrets", "configmaps", "roles"} & set(rule["resources"])
                if {"menscorpora", "pods"} & set(rule["resources"]):
                    assert not {"create", "update", "patch"} & set(rule["verbs"])


def test_rights_are_those_that_are_used() -> None:
    """Each verb has a call behind it: the cluster tier proves that these rights suffice."""
    [role] = [
        each
        for each in helm.template("--set", "watchNamespaces={team-a}")
        if each["kind"] == "Role" and each["metadata"]["namespace"] == "team-a"
    ]
    rights: dict[str, set[str]] = defaultdict(set)
    for rule in role["rules"]:
        for resource in rule["resources"]:
            rights[resource] |= set(rule["verbs"])
    follow, apply = {"list", "watch"}, {"create", "patch"}
    ours = ("menscorpora", "menstrainruns", "mensserves")
    assert rights == {
        **{name: {"get", "delete"} | follow for name in ours[:2]},  # delete: their TTL
        "mensserves": {"get"} | follow,
        **{f"{name}/status": {"patch"} for name in ours},
        "jobs": {"delete"} | follow | apply,
        "deployments": {"get"} | follow | apply,
        "services": {"get"} | follow | apply,
        "pods": follow,
        "events": {"create"},
    }


def test_namespaced_mode_needs_nothing_of_the_cluster() -> None:
    """With watchNamespaces a namespace's administrator can install all but the definitions."""
    kinds = {
        each["kind"] for each in helm.template("--set", "crds.enabled=false", *CASES["namespaced"])
    }
    assert kinds == {"Deployment", "Role", "RoleBinding", "ServiceAccount"}


def test_nothing_is_a_hook() -> None:
    """Argo CD and Flux sync the chart as it is."""
    assert "helm.sh/hook" not in str(helm.template(*EVERYTHING))


def test_every_object_carries_the_common_labels() -> None:
    """Extra labels reach everything, pods too."""
    for each in helm.template(*EVERYTHING):
        assert each["metadata"]["labels"]["team"] == "a"
        assert each["metadata"]["labels"]["app.kubernetes.io/part-of"] == "mens"


def test_images_by_name_and_by_default() -> None:
    """A given reference is used as it is, an empty one follows the chart's version."""
    given = ["--set", "images.mens-trainer=localhost/mens-trainer:abc"]
    deployment = helm.pick(helm.template(*given), "Deployment", "mens-operator")
    [container] = deployment["spec"]["template"]["spec"]["containers"]
    env = {each["name"]: each.get("value") for each in container["env"]}
    assert env["MENS_IMAGE_TRAINER"] == "localhost/mens-trainer:abc"
    assert env["MENS_IMAGE_SERVER"] == "localhost/mens-server:0.1.0"


def test_the_policy_judges_specs_only() -> None:
    """What keeps the spec, as an annotation or the end of a finalizer does, is not judged."""
    policy = helm.pick(helm.template(*EVERYTHING), "ValidatingAdmissionPolicy", "mens-operator")
    assert [each["expression"] for each in policy["spec"]["matchConditions"]] == [
        'request.operation == "CREATE" || object.spec != oldObject.spec',
        "!has(object.metadata.deletionTimestamp)",
    ]


def test_web_identity_needs_no_keys() -> None:
    """Without a Secret no key is asked for."""
    objects = helm.template("--set", "s3.secretName=")
    assert "AWS_" not in str(objects)


def test_store_and_its_users_share_generated_keys() -> None:
    """What the store accepts is what the Secret gives."""
    objects = helm.template("--set", "devStore.enabled=true", *KEYS)
    store = helm.pick(objects, "Secret", "mens-dev-store")
    users = helm.pick(objects, "Secret", "mens-s3")
    assert users["data"]["AWS_ACCESS_KEY_ID"] == "aWQ="
    assert '"accessKey":"id","secretKey":"key"' in _decoded(store["data"]["s3.json"])


def _decoded(text: str) -> str:
    return base64.b64decode(text).decode()


@pytest.mark.parametrize(
    "wrong",
    [
        "s3.bukket=x",
        "replicas=many",
        "healthPort=80",
        "images.mens-operator=localhost/mens-operator:latest",
        "images.mens-operator=localhost/mens-operator",
        "images.operator=localhost/mens-operator:1",
        "logLevel=LOUD",
        "s3.bucket=ab",
        "jobs.retrySeconds.input=5-30",
        "jobs.retrySeconds.input=0:0",
        "jobs.retrySeconds.storage=0.0:30",
        "jobs.retrySeconds.defect=600:30",
    ],
)
def test_wrong_values_are_refused(wrong: str) -> None:
    """The schema names the key before anything reaches a cluster."""
    done = helm.run("template", "mens", str(helm.CHART), "--set", wrong)
    assert done.returncode != 0
    assert wrong.split("=", maxsplit=1)[0].split(".", maxsplit=1)[0] in done.stderr


def test_schema_and_values_have_the_same_keys() -> None:
    """No value without a schema, no schema without a default; closed on every level."""
    schema = json.loads((helm.CHART / "values.schema.json").read_text())
    values = yaml.safe_load((helm.CHART / "values.yaml").read_text())
    del schema["properties"]["global"]

    def compare(node: dict[str, Any], value: Any, path: str) -> None:
        if "properties" not in node:
            return
        assert node["additionalProperties"] is False, path
        if isinstance(value, dict) and not path.endswith("resources"):
            assert set(node["properties"]) == set(value), path
            for key, child in node["properties"].items():
                compare(child, value[key], f"{path}.{key}")

    compare(schema, values, "")


def test_every_value_is_explained() -> None:
    """Each top-level key of values.yaml stands below a comment or in a commented group."""
    text = (helm.CHART / "values.yaml").read_text()
    assert text.count("#") > len(yaml.safe_load(text))
