"""pydantic accepts exactly what the API server accepts: one truth, said twice by machines."""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from mens.api import kube
from mens.crdgen import definitions
from tests.support import apiserver, schema_probe, specs

pytestmark = pytest.mark.cluster

EXAMPLES = 200


@pytest.mark.parametrize(
    "resource", [*definitions.RESOURCES, schema_probe.Probe], ids=lambda each: each.NAMES.kind
)
def test_pydantic_and_api_server_agree(
    resource: type[kube.Resource], server: apiserver.ApiServer, namespace: str
) -> None:
    """For generated specs, valid and spoilt: parse accepts ⇔ a strict dry-run create succeeds."""
    schema = definitions.schema_of(resource)["properties"]["spec"]
    model = resource.model_fields["spec"].annotation
    assert isinstance(model, type)
    verdicts: Counter[bool] = Counter()

    @settings(
        max_examples=EXAMPLES,
        deadline=None,
        database=None,
        derandomize=True,
        suppress_health_check=list(HealthCheck),
        # A failure prints its spec, which is small; shrinking it takes minutes.
        phases=(Phase.generate,),
    )
    @given(st.data())
    def agree(data: st.DataObject) -> None:
        spec = data.draw(specs.mutated(schema))
        ours = accepted(model, spec)
        theirs = server.dry_create(namespace, resource.NAMES.plural, resource.NAMES.kind, spec)
        assert ours == theirs.accepted, f"{json.dumps(spec)}\npydantic: {ours}\n{theirs.message}"
        verdicts[ours] += 1
        if ours:
            same_after_defaulting(model, spec, theirs.body["spec"])

    agree()
    # A test that only ever sees one verdict proves nothing.
    assert min(verdicts[True], verdicts[False]) >= EXAMPLES // 10, verdicts


def accepted(model: type[Any], spec: Any) -> bool:
    try:
        kube.parse(model, spec)
    except ValueError:
        return False
    return True


def same_after_defaulting(model: type[Any], sent: Any, stored: Any) -> None:
    """What the server filled in is what the model fills in."""
    assert kube.parse(model, stored) == kube.parse(model, sent)
