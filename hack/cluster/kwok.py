"""Fake nodes by kwok: a thousand pods need almost no resources."""

import json
from typing import Any

from hack.cluster import sandbox
from hack.cluster.gobuild import Toolbox
from hack.cluster.resources import KWOK_ANNOTATION

FLAGS = (
    "--manage-all-nodes=false",
    "--manage-nodes-with-annotation-selector="
    + ",".join(f"{key}={value}" for key, value in KWOK_ANNOTATION.items()),
    "--node-lease-duration-seconds=200",
    "--server-address=127.0.0.1:10247",
)


def stages() -> list[dict[str, Any]]:
    """Returns kwok's rules: when an object matches, its status becomes what the template says."""
    return [_node_ready(), _node_heartbeat(), _pod_running(), _pod_complete(), _pod_delete()]


def start(box: sandbox.Sandbox, tools: Toolbox) -> None:
    """Starts kwok with our stages; it retries until the API server answers."""
    configuration = box.run / "kwok.yaml"
    # JSON documents are YAML documents.
    configuration.write_text("\n---\n".join(json.dumps(each, indent=1) for each in stages()))
    kubeconfig = f"--kubeconfig={box.run}/pki/admin.kubeconfig"
    command = [str(tools.program("kwok")), kubeconfig, f"--config={configuration}", *FLAGS]
    box.start("kwok", command)


def _stage(
    name: str, kind: str, when: list[dict[str, Any]], then: dict[str, Any], **more: Any
) -> dict[str, Any]:
    return {
        "apiVersion": "kwok.x-k8s.io/v1alpha1",
        "kind": "Stage",
        "metadata": {"name": name},
        "spec": {
            "resourceRef": {"apiGroup": "v1", "kind": kind},
            "selector": {"matchExpressions": when},
            "next": then,
            **more,
        },
    }


def _when(key: str, operator: str, *values: str) -> dict[str, Any]:
    return {"key": key, "operator": operator, **({"values": list(values)} if values else {})}


_NOT_DELETED = _when(".metadata.deletionTimestamp", "DoesNotExist")
_READY = '.status.conditions.[] | select( .type == "Ready" ) | .status'

_CONDITIONS = """\
{{ $now := Now }}
conditions:
{{ range NodeConditions }}
- type: {{ .type | Quote }}
  status: {{ .status | Quote }}
  reason: {{ .reason | Quote }}
  message: {{ .message | Quote }}
  lastHeartbeatTime: {{ $now | Quote }}
  lastTransitionTime: {{ $now | Quote }}
{{ end }}
"""

_NODE_READY = (
    _CONDITIONS
    + """\
addresses:
- type: InternalIP
  address: {{ NodeIP | Quote }}
- type: Hostname
  address: {{ NodeName | Quote }}
phase: Running
"""
)

_POD_RUNNING = """\
{{ $now := Now }}
phase: Running
startTime: {{ $now | Quote }}
{{ $meta := .metadata }}
podIP: {{ PodIPWith .spec.nodeName false $meta.uid $meta.name $meta.namespace | Quote }}
conditions:
{{ range list "Initialized" "Ready" "ContainersReady" "PodScheduled" }}
- type: {{ . | Quote }}
  status: "True"
  lastTransitionTime: {{ $now | Quote }}
{{ end }}
initContainerStatuses:
{{ range .spec.initContainers }}
- name: {{ .name | Quote }}
  image: {{ .image | Quote }}
  ready: true
  restartCount: 0
  {{ if eq .restartPolicy "Always" }}
  started: true
  state: {running: {startedAt: {{ $now | Quote }}}}
  {{ else }}
  state:
    terminated:
      exitCode: 0
      reason: Completed
      startedAt: {{ $now | Quote }}
      finishedAt: {{ $now | Quote }}
  {{ end }}
{{ end }}
containerStatuses:
{{ range .spec.containers }}
- name: {{ .name | Quote }}
  image: {{ .image | Quote }}
  ready: true
  started: true
  restartCount: 0
  state: {running: {startedAt: {{ $now | Quote }}}}
{{ end }}
"""

_POD_COMPLETE = """\
{{ $now := Now }}
phase: Succeeded
containerStatuses:
{{ range .spec.containers }}
- name: {{ .name | Quote }}
  image: {{ .image | Quote }}
  ready: false
  started: false
  restartCount: 0
  state:
    terminated:
      exitCode: 0
      reason: Completed
      startedAt: {{ $now | Quote }}
      finishedAt: {{ $now | Quote }}
{{ end }}
"""

HOLD_ANNOTATION = "mens.test/hold"
"""A Job's pod with this annotation keeps running instead of completing at once."""


def _node_ready() -> dict[str, Any]:
    then = {"statusTemplate": _NODE_READY}
    return _stage("node-ready", "Node", [_when(_READY, "NotIn", "True")], then)


def _node_heartbeat() -> dict[str, Any]:
    # Rare on purpose: the node's lease shows life, and status writes cost the API server.
    delay = {"durationMilliseconds": 600_000, "jitterDurationMilliseconds": 610_000}
    then = {"statusTemplate": _CONDITIONS}
    return _stage("node-heartbeat", "Node", [_when(_READY, "In", "True")], then, delay=delay)


def _pod_running() -> dict[str, Any]:
    when = [
        _NOT_DELETED,
        _when(".status.phase", "In", "Pending"),
        _when(".status.podIP", "DoesNotExist"),
    ]
    return _stage("pod-running", "Pod", when, {"statusTemplate": _POD_RUNNING})


def _pod_complete() -> dict[str, Any]:
    when = [
        _NOT_DELETED,
        _when(".status.phase", "In", "Running"),
        _when(".metadata.ownerReferences.[].kind", "In", "Job"),
        _when(f'.metadata.annotations["{HOLD_ANNOTATION}"]', "DoesNotExist"),
    ]
    return _stage("pod-complete", "Pod", when, {"statusTemplate": _POD_COMPLETE})


def _pod_delete() -> dict[str, Any]:
    when = [_when(".metadata.deletionTimestamp", "Exists")]
    then = {"finalizers": {"empty": True}, "delete": True}
    return _stage("pod-delete", "Pod", when, then)
