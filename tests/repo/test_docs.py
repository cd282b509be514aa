"""Documentation that points at nothing is wrong: links, commands and reasons are checked."""

from __future__ import annotations

import ast
import itertools
import re
import shlex
from pathlib import Path

import pytest
import yaml

from hack.images import catalog
from mens.api import reasons
from mens.cli import main

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted(
    path
    for folder in (ROOT, ROOT / "docs", ROOT / "examples", ROOT / "hack")
    for path in (folder.glob("*.md") if folder == ROOT else folder.rglob("*.md"))
)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    """Every relative link leads to a file of the repository."""
    for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text()):
        assert (page.parent / target).exists(), f"{page.name}: {target}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_make_targets_exist(page: Path) -> None:
    """Every `make x` that a page names exists."""
    targets = set(re.findall(r"^([a-z0-9-]+):", (ROOT / "Makefile").read_text(), re.M))
    for target in re.findall(r"`make ([a-z0-9-]+)", page.read_text()):
        assert target in targets, f"{page.name}: make {target}"


def _commands(program: str) -> list[list[str]]:
    """Commands in indented blocks of all pages that start with a program's name."""
    found = []
    for page in PAGES:
        text = page.read_text().replace("\\\n", " ")
        lines = re.findall(rf"^    ({program} .*)$", text, re.M)
        found += [shlex.split(line.split("  #")[0]) for line in lines]
    return found


def test_mens_commands_are_understood() -> None:
    """Every `mens` command that a page shows is one that the parser takes."""
    commands = _commands("mens")
    assert commands
    for command in commands:
        main.build_parser().parse_args(command[1:])


def test_helm_values_exist() -> None:
    """Every `--set` that a page shows names a value of the chart."""
    values = yaml.safe_load((ROOT / "charts" / "mens-operator" / "values.yaml").read_text())
    keys = [
        word.partition("=")[0]
        for command in _commands("helm")
        for flag, word in itertools.pairwise(command)
        if flag == "--set"
    ]
    assert keys
    for key in keys:
        inner = values
        for part in key.split("."):
            assert part in inner, key
            inner = inner[part]


def test_docker_builds_make_what_the_chart_runs() -> None:
    """Every `docker build` that a page shows names a stage there is, and the chart's own tag."""
    version = yaml.safe_load((ROOT / "charts" / "mens-operator" / "Chart.yaml").read_text())
    commands = _commands("docker build")
    assert commands
    for command in commands:
        options = dict(itertools.pairwise(command))
        name, _, tag = options["-t"].rpartition("/")[2].partition(":")
        image = catalog.named(name)
        assert options["-f"] == image.dockerfile
        assert tag == version["appVersion"]
        stages = re.findall(r"^FROM .* AS (\S+)$", (ROOT / image.dockerfile).read_text(), re.M)
        assert options.get("--target", stages[-1]) == image.target


SERVER = ROOT / "server-image" / "src" / "mens_server"


def test_serving_lists_every_route_and_no_other() -> None:
    """With its method, as the application has it."""
    pages = (SERVER / "app").glob("*.py")
    routed = [re.findall(r'Route\("([^"]+)".*\["([A-Z]+)"\]', page.read_text()) for page in pages]
    there = {f"{method} {path}" for found in routed for path, method in found}
    page = (ROOT / "docs" / "serving.md").read_text()
    assert set(re.findall(r"`((?:GET|POST) /[^`]*)`", page)) == there


def test_serving_explains_every_error_and_metric() -> None:
    """By the words that clients and scrapers see."""
    page = (ROOT / "docs" / "serving.md").read_text()
    codes = re.findall(
        r'^    code.* = "(\w+)"$', (SERVER / "protocol" / "errors.py").read_text(), re.M
    )
    names = re.findall(r'"((?:vllm:|mens_server_)\w+)"', (SERVER / "metrics.py").read_text())
    assert len(codes) > 10
    assert len(names) > 10
    for word in codes:
        assert f"`{word}`" in page, word
    for word in names:
        assert re.search(f"`{word}(_total)?`", page), word


def test_python_in_pages_can_be_read() -> None:
    """Every block of Python is Python."""
    blocks = [
        block
        for page in PAGES
        for block in re.findall(r"^```python\n(.*?)^```$", page.read_text(), re.M | re.S)
    ]
    assert blocks
    for block in blocks:
        ast.parse(block)


def test_troubleshooting_explains_why_a_row_is_missing() -> None:
    """Every reason that a corpus counts is on the page, and the page names no other."""
    page = (ROOT / "docs" / "troubleshooting.md").read_text()
    explained = set(re.findall(r"^\| ([A-Z][A-Za-z]+) \|", page, re.M))
    engine = ROOT / "trainer-image" / "src" / "mens_corpus"
    modules = [*(engine / "extractors").glob("*.py"), engine / "source_pipeline.py"]
    written = {
        node.value
        for path in [*modules, engine / "selection.py"]
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
        if re.fullmatch(r"(?:[A-Z][a-z]+)+", node.value)
    }
    stages = {"Reading"}
    shared = {reasons.LICENSE_UNKNOWN, reasons.LICENSE_NOT_ALLOWED, reasons.NAME_REFUSED}
    assert explained == written - stages | shared
