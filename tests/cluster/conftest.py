"""What the tests of definitions and chart share."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from mens.crdgen import definitions
from tests.support import apiserver, schema_probe

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="session")
def server(control_plane: Any) -> Iterator[apiserver.ApiServer]:
    """The API server with our definitions, and that of the probe, installed and served."""
    control_plane.kubectl_run("apply", "-f", str(ROOT / "crds"))
    probe = definitions.definition_of(schema_probe.Probe)
    control_plane.kubectl_run("apply", "-f", "-", stdin=json.dumps(probe))
    names = [f"crd/{definitions.name_of(each)}" for each in definitions.RESOURCES]
    names.append(f"crd/{definitions.name_of(schema_probe.Probe)}")
    control_plane.kubectl_run("wait", "--for=condition=Established", "--timeout=30s", *names)
    found = apiserver.ApiServer(control_plane.kubeconfig)
    _wait_until_served(found, "probes")
    yield found
    found.close()


def _wait_until_served(found: apiserver.ApiServer, plural: str) -> None:
    """Established comes a moment before the first request succeeds."""
    deadline = time.monotonic() + 30
    while not found.call("GET", f"/apis/mens.vox-lang.org/v1alpha1/{plural}").accepted:
        assert time.monotonic() < deadline, f"{plural} are not served"
        time.sleep(0.1)
