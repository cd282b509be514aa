"""How pydantic applies the markers of `mens.api.kube`; cluster tests compare the API server."""

from __future__ import annotations

import json
from typing import Any

import pydantic
import pytest
from hypothesis import HealthCheck, assume, example, given, settings
from hypothesis import strategies as st

from mens.api import kube
from mens.artifacts import refs
from mens.crdgen import definitions
from tests.support import schema_probe, specs

MINIMAL: dict[str, Any] = {"color": "Red", "text": "x"}
SCHEMA = definitions.schema_of(schema_probe.Probe)["properties"]["spec"]


def test_minimal_spec_is_filled_in() -> None:
    """Everything but what the rules ask for has a default."""
    spec = kube.parse(schema_probe.ProbeSpec, MINIMAL)
    assert (spec.memory, spec.bounds.high, spec.items) == ("1Gi", 7, ())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"color": None}, "Give at least one of: color, items."),
        ({"ratio": "0.5"}, "Give exactly one of: text, ratio."),
        ({"text": None, "ratio": "1001"}, "Must be a decimal between -0.5 and 1e3."),
        (
            {"items": [{"name": "a", "left": "x", "right": "y"}]},
            "Give at most one of: left, right.",
        ),
        ({"items": [{"name": "a"}, {"name": "a"}]}, "Each name may appear once only."),
        ({"tags": ["x", "x"]}, "Each item may appear once only."),
        ({"bounds": {"low": 6}}, "low must not exceed high."),
        ({"memory": -1}, "Must be between 0 and 2"),
        ({"memory": True}, "string"),
        ({"seconds": "30"}, "integer"),
        ({"unknown": 1}, "Extra inputs"),
        ({"fixed_optional": "x"}, "Extra inputs"),
        ({"uri": "s3://ab"}, "at least 8"),
        ({"uri": "s3://abc//x"}, "pattern"),
        ({"uri": "s3://abc/a/../b"}, "No part of the key may be '.' or '..'"),
        ({"uri": "s3://abc/."}, "No part of the key may be '.' or '..'"),
        ({"uri": "s3://a..b/x"}, "the bucket's name must not contain '..'"),
        ({"uri": "s3://abc/x/" + "y" * 256}, "more than 255 characters"),
        ({"digest": "sha256:" + "A" * 64}, "pattern"),
    ],
)
def test_parse_refuses(change: dict[str, Any], message: str) -> None:
    """Reading what a person wrote is strict, and says what is wrong."""
    with pytest.raises(ValueError, match="validation error") as caught:
        kube.parse(schema_probe.ProbeSpec, MINIMAL | change)
    assert message in str(caught.value)


@pytest.mark.parametrize(
    "change", [{"memory": 5}, {"seconds": 2.0}, {"bounds": None}, {"bounds": {"low": None}}]
)
def test_parse_accepts_what_the_api_server_accepts(change: dict[str, Any]) -> None:
    """Numbers for quantities, 2.0 for 2, null for an absent field."""
    kube.parse(schema_probe.ProbeSpec, MINIMAL | change)


def test_has_matches_cel() -> None:
    """An explicit empty list is there, a default one is not."""
    assert not kube.has(kube.parse(schema_probe.ProbeSpec, MINIMAL), "items")
    assert kube.has(kube.parse(schema_probe.ProbeSpec, MINIMAL | {"items": []}), "items")
    assert not kube.has(kube.parse(schema_probe.ProbeSpec, MINIMAL), "fixedOptional")


@settings(max_examples=100, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.data())
def test_wire_round_trip(data: st.DataObject) -> None:
    """parse(wire(x)) == x, for every spec that is accepted."""
    try:
        spec = kube.parse(schema_probe.ProbeSpec, data.draw(specs.mutated(SCHEMA)))
    except ValueError:
        assume(False)
    # Empty lists are left out on the wire, so a rule that counts fields may see one less.
    assume(spec.items or spec.color)
    assume("[]" not in json.dumps(spec.free))
    assert kube.parse(schema_probe.ProbeSpec, spec.wire()) == spec


URIS = st.builds(
    lambda bucket, parts: "/".join([f"s3://{bucket}", *parts]),
    st.from_regex("[ab][ab.-]{1,3}[ab]", fullmatch=True),
    st.lists(
        st.text("a.B", min_size=1, max_size=4) | st.sampled_from(["x" * 255, "x" * 256]), max_size=4
    ),
)


S3_URI: pydantic.TypeAdapter[str] = pydantic.TypeAdapter(kube.S3Uri)


@settings(max_examples=500)
@given(URIS)
@example("s3://abc/..a/.b/c./...")
@example("s3://abc/" + "x" * 255 + "/")
def test_every_valid_s3_uri_is_a_store_uri(text: str) -> None:
    """Whatever S3Uri accepts is a `refs.Uri`: a plan never meets an address that it must refuse."""
    try:
        S3_URI.validate_python(text)
    except ValueError:
        assume(False)
    refs.Uri.parse(text)


def test_unknown_fields_are_ignored_when_reading() -> None:
    """An older operator can read a resource of a newer CRD."""
    schema_probe.ProbeSpec.model_validate(MINIMAL | {"future": 1})


def test_condition_is_written_with_whole_seconds_in_utc() -> None:
    """The wire form of a moment is that of metav1.Time."""
    condition = kube.Condition.model_validate(
        {
            "type": "Ready",
            "status": "True",
            "reason": "Serving",
            "lastTransitionTime": "2026-01-02T03:04:05.678+01:00",
        }
    )
    assert condition.wire()["lastTransitionTime"] == "2026-01-02T02:04:05Z"
