"""A resource that uses every word of `mens.api.kube`; a real API server proves each of them."""

from __future__ import annotations

import enum
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field

from mens.api import kube


class Color(enum.StrEnum):
    """A choice."""

    RED = "Red"
    """The first."""
    BLUE = "Blue"
    """The second."""


class Item(kube.Model):
    """An item that a name tells apart."""

    RULES: ClassVar = (kube.at_most_one_of("left", "right"),)

    name: kube.Name
    """Its name."""
    left: kube.ShortText | None = None
    """One way."""
    right: kube.ShortText | None = None
    """The other way."""


class Bounds(kube.Model):
    """Two numbers that depend on each other."""

    RULES: ClassVar = (
        kube.Rule(
            "self.low <= self.high",
            "low must not exceed high.",
            holds=lambda bounds: bounds.low <= bounds.high,
            path=".low",
        ),
    )

    low: Annotated[int, Field(ge=0, le=10)] = 1
    """The lower."""
    high: Annotated[int, Field(ge=0, lt=11)] = 5
    """The higher."""


class ProbeSpec(kube.Model):
    """One field for each type and marker."""

    RULES: ClassVar = (kube.at_least_one_of("color", "items"), kube.one_of("text", "ratio"))

    fixed: Annotated[kube.Name, kube.immutable()] = "fixed"
    """Never changes; has a default."""
    fixed_optional: Annotated[kube.Name | None, kube.immutable("Stays as it is.")] = None
    """Never changes, comes or goes."""
    color: Color | None = None
    """A choice."""
    items: Annotated[tuple[Item, ...], Field(max_length=3), kube.list_map("name")] = ()
    """Items told apart by name."""
    tags: Annotated[tuple[kube.ShortText, ...], Field(max_length=3), kube.set_list()] = ()
    """A set."""
    text: kube.Text | None = None
    """Free text."""
    ratio: Annotated[kube.DecimalString, kube.decimal_range("-0.5", "1e3")] | None = None
    """A bounded decimal."""
    memory: kube.Quantity = "1Gi"
    """A quantity."""
    seconds: kube.Seconds = 30
    """A duration."""
    count: kube.Count = 0
    """A number beyond 32 bits."""
    uri: kube.S3Uri | None = None
    """A place in the store."""
    digest: kube.Digest | None = None
    """A digest."""
    reference: kube.ObjectName = "a.b"
    """A name of an object."""
    bounds: Bounds = Bounds(high=7)
    """A part with a rule and a default of its own."""
    labels: Annotated[dict[str, kube.ShortText], Field(max_length=2)] = Field(default_factory=dict)
    """A map of texts."""
    free: Annotated[dict[str, Any], kube.preserve_unknown()] = Field(default_factory=dict)
    """Whatever."""


class Probe(kube.Resource):
    """Every type and marker in one place."""

    NAMES: ClassVar = kube.Names(kind="Probe", plural="probes", singular="probe", short="prb")

    kind: Literal["Probe"] = "Probe"
    """Always `Probe`."""
    spec: ProbeSpec
    """One field for each type and marker."""
    status: kube.Model = kube.Model()
    """Nothing."""
