"""Generated files match the models, and the models follow the Kubernetes API conventions."""

from __future__ import annotations

import enum
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

import pytest
import yaml
from pydantic import Field

from mens.api import kube, reasons
from mens.crdgen import __main__ as command
from mens.crdgen import definitions, json_schema, lint, reference, render, structural_schema
from tests.support import schema_probe

ROOT = Path(__file__).resolve().parents[3]
ALL = [*definitions.RESOURCES, schema_probe.Probe]


def rewritten(model: type[kube.Model]) -> dict[str, Any]:
    return structural_schema.structural(json_schema.collect(model))


def test_generated_files_are_up_to_date() -> None:
    """`make crds` was run after the last change of a model."""
    assert render.differences(ROOT) == []


@pytest.mark.parametrize("resource", ALL, ids=lambda each: each.NAMES.kind)
def test_schemas_follow_the_api_conventions(resource: type[kube.Resource]) -> None:
    """No float, everything bounded and described, no rule without a sentence."""
    assert lint.lint(definitions.schema_of(resource)) == []


@pytest.mark.parametrize("resource", definitions.RESOURCES, ids=lambda each: each.NAMES.kind)
def test_definition_has_category_short_name_status_and_columns(
    resource: type[kube.Resource],
) -> None:
    """`kubectl get mens` lists all kinds; each has a short name, a status and columns."""
    spec = definitions.definition_of(resource)["spec"]
    version = spec["versions"][0]
    assert spec["names"]["categories"] == ["mens"]
    assert spec["names"]["shortNames"] == [resource.NAMES.short]
    assert "status" in version["subresources"]
    assert version["additionalPrinterColumns"][-1]["name"] == "Age"


def test_plain_and_chart_copies_differ_only_in_metadata() -> None:
    """The chart installs the very schema that lies in crds/."""
    files = render.render()
    for resource in definitions.RESOURCES:
        plural = resource.NAMES.plural
        plain = files[Path("crds") / f"mens.vox-lang.org_{plural}.yaml"]
        chart = files[Path("charts/mens-operator/templates/crds") / f"{plural}.yaml"]
        assert "resource-policy" not in plain
        assert "helm.sh/resource-policy: keep" in chart
        assert plain.partition("\nspec:\n")[2] in chart
        assert yaml.safe_load(plain)["metadata"] == {"name": definitions.name_of(resource)}


def test_optional_becomes_not_required_without_null() -> None:
    """Optional's union with null goes; the description above it stays."""

    class Part(kube.Model):
        """A part."""

        name: kube.Name | None = None
        """A name."""

    schema = rewritten(Part)
    assert "required" not in schema
    assert schema["properties"]["name"] == {
        "type": "string",
        "description": "A name.",
        "pattern": "^[a-z0-9]([-a-z0-9]*[a-z0-9])?$",
        "minLength": 1,
        "maxLength": 63,
    }


def test_enumeration_describes_its_values() -> None:
    """Docstrings of members come into the description, and so into `kubectl explain`."""
    color = definitions.schema_of(schema_probe.Probe)["properties"]["spec"]["properties"]["color"]
    assert color["enum"] == ["Red", "Blue"]
    assert color["description"] == "A choice.\nRed: The first.\nBlue: The second."


def test_constants_become_enumerations_and_exclusive_bounds_become_flags() -> None:
    """OpenAPI v3.0 knows neither const nor numeric exclusive bounds."""

    class Part(kube.Model):
        """A part."""

        kind: Literal["One"] = "One"
        """A constant."""
        number: Annotated[int, Field(gt=0, lt=5)] = 1
        """A number."""

    properties = rewritten(Part)["properties"]
    assert properties["kind"]["enum"] == ["One"]
    assert properties["number"]["minimum"] == 0
    assert properties["number"]["exclusiveMinimum"] is True
    assert properties["number"]["exclusiveMaximum"] is True


def test_default_is_short_without_rules_and_whole_with_them() -> None:
    """The API server checks rules against a default as it is written, before filling it in."""
    properties = definitions.schema_of(schema_probe.Probe)["properties"]["spec"]["properties"]
    assert properties["bounds"]["default"] == {"low": 1, "high": 7}
    corpus = definitions.schema_of(definitions.RESOURCES[0])["properties"]["spec"]["properties"]
    assert corpus["retry"]["default"] == {}


def test_status_has_no_defaults() -> None:
    """A controller writes a status as a whole; the server must not add to it."""

    def defaults(node: Any) -> list[Any]:
        if not isinstance(node, dict):
            return []
        here = (
            [node["default"]] if "default" in node and not isinstance(node["default"], dict) else []
        )
        return here + [found for child in node.values() for found in defaults(child)]

    for resource in definitions.RESOURCES:
        assert defaults(definitions.schema_of(resource)["properties"]["status"]) == []


def test_immutable_optional_field_may_not_come_or_go() -> None:
    """A rule on the field itself does not run when the field is absent on one side."""
    spec = definitions.schema_of(schema_probe.Probe)["properties"]["spec"]
    rules = [rule["rule"] for rule in spec["x-kubernetes-validations"]]
    assert "has(self.fixedOptional) == has(oldSelf.fixedOptional)" in rules
    fixed = spec["properties"]["fixed"]["x-kubernetes-validations"]
    assert [rule["rule"] for rule in fixed] == ["self == oldSelf"]


def test_unions_recursion_and_free_content_are_refused() -> None:
    """What a CRD cannot express is an error at build time, with the place in it."""

    class Union(kube.Model):
        """A union."""

        value: int | str
        """Either."""

    class Free(kube.Model):
        """Free content."""

        value: dict[str, Any]
        """Anything."""

    for model in (Union, Free, Tree):
        with pytest.raises(structural_schema.NotStructuralError, match="/"):
            rewritten(model)


class Tree(kube.Model):
    """A tree."""

    children: Annotated[tuple[Tree, ...], Field(max_length=2)] = ()
    """More of it."""


class Small(enum.StrEnum):
    """Not CamelCase."""

    ONE = "one"


class Offender(kube.Model):
    """Breaks one convention per field."""

    RULES: ClassVar = (kube.Rule("self.text != 'x'", "no sentence"),)

    number: float = 1.0
    """A float."""
    whole: int = 1
    """An integer."""
    text: str | None = None
    """A string."""
    many: tuple[kube.Name, ...] = ()
    """A list."""
    mapping: dict[str, kube.Name] = Field(default_factory=dict)
    """A map."""
    small: Small = Small.ONE
    """An enum."""
    undescribed: kube.Name = "x"
    phase: kube.Name = "x"
    """A phase."""
    delay_minutes: kube.Seconds = 1
    """A duration."""
    other_ref: kube.Name = "x"
    """A reference."""
    spaced: Annotated[str, Field(pattern=r"^\s$", max_length=1)] = " "
    """A pattern."""
    half: Annotated[str, Field(pattern="^x", max_length=1)] = "x"
    """Half a pattern."""
    named: Annotated[tuple[kube.LocalRef, ...], Field(max_length=1)] = ()
    """Named items."""


def test_linter_reports_every_violation() -> None:
    """The linter finds each kind of violation, with its path."""
    schema = {"properties": {"spec": rewritten(Offender)}}
    found = "\n".join(lint.lint(schema))
    for expected in (
        "spec.number: a float",
        "spec.whole: an integer without bounds",
        "spec.text: a string without bound",
        "spec.many: a list without bound",
        "spec.mapping: a map without bound",
        "spec.small: enum value 'one'",
        "spec.undescribed: has no description",
        "spec.phase: conditions say more",
        "spec.delayMinutes: durations are whole seconds",
        "spec.otherRef: a reference must have a name",
        "spec.spaced: the pattern",
        "spec.half: the pattern",
        "spec.named: a list of named items",
        "must be a whole sentence",
        "uses text without asking has(self.text)",
    ):
        assert expected in found


def test_numbers_in_text_are_quoted() -> None:
    """The API server's YAML reader takes a bare 2e-4 for a number, PyYAML does not."""
    assert render.to_yaml({"rate": "2e-4", "share": "0.5", "word": "x"}) == (
        "rate: '2e-4'\nshare: '0.5'\nword: x\n"
    )


def test_reference_lists_every_field_and_every_reason() -> None:
    """Nothing a user can write or read is missing from the reference."""
    page = reference.page_of(definitions.RESOURCES[1])
    for name in (
        "`corpusRef`",
        "`learningRate`",
        "spec.schedule",
        "status.conditions[]",
        "maximum 16",
    ):
        assert name in page
    assert "| `LicenseUnknown` |" in reference.reasons_page()


def test_every_reason_documents_the_next_step() -> None:
    """The first paragraph of its docstring is what it means, the second the next step."""
    explained = dict(reference.constant_docs(reasons))
    assert set(explained) == {
        value for name, value in vars(reasons).items() if name.isupper() and isinstance(value, str)
    }
    lacking = [value for value, doc in explained.items() if doc.count("\n\n") != 1]
    assert not lacking, "write the next step as a second paragraph of the docstring"
    for value, doc in explained.items():
        meaning, action = doc.split("\n\n")
        assert f"| `{value}` | {meaning} | {action} |" in reference.reasons_page()


def test_check_and_write(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`--check` fails with a diff on an empty folder, writing fills it, `--check` is content."""
    root = ["--root", str(tmp_path)]
    assert command.main(["--check", *root]) == 1
    assert "+kind: CustomResourceDefinition" in capsys.readouterr().out
    assert command.main(root) == 0
    assert command.main(["--check", *root]) == 0
