"""The examples are valid according to the models that generate the CRDs."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from mens.api import corpus, kube, serve, trainrun

ROOT = Path(__file__).resolve().parents[2]
SPECS: dict[str, type[kube.Model]] = {
    "MensCorpus": corpus.MensCorpusSpec,
    "MensTrainRun": trainrun.MensTrainRunSpec,
    "MensServe": serve.MensServeSpec,
}
FILES = sorted((ROOT / "examples").rglob("*.yaml"))


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_example_is_valid(path: Path) -> None:
    """Every resource in an example is read as strictly as the API server reads it."""
    documents = [document for document in yaml.safe_load_all(path.read_text()) if document]
    assert documents
    for document in documents:
        if document["kind"] in SPECS:
            kube.parse(SPECS[document["kind"]], document["spec"])


def test_the_quickstart_is_applied_in_the_order_of_its_steps() -> None:
    """`kubectl apply -f` applies files by name; another order would first report a warning."""
    folder = ROOT / "examples" / "01-quickstart"
    kinds = [yaml.safe_load(path.read_text())["kind"] for path in sorted(folder.glob("*.yaml"))]
    assert kinds == ["MensCorpus", "MensTrainRun", "MensServe"]


def test_examples_exist() -> None:
    """An empty folder must not pass as tested."""
    assert len(FILES) >= 3
