"""A key is what an image is made of."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from hack.images import base, catalog, keys

DOCKERFILE = """\
ARG BASE_IMAGE=x
FROM ${BASE_IMAGE} AS ml
COPY requirements.txt /opt/
FROM ml AS trainer
COPY src src
FROM ml AS other
COPY unrelated unrelated
"""

TRAINER = catalog.Image("mens-trainer", "Dockerfile", "trainer", "", 1.0)
HEAVY = catalog.Image("mens-ml", "Dockerfile", "ml", "", 1.0)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "Dockerfile").write_text(DOCKERFILE)
    (tmp_path / "requirements.txt").write_text("torch")
    (tmp_path / "src").mkdir()
    (tmp_path / "src" / "a.py").write_text("1")
    (tmp_path / "unrelated").write_text("1")
    return tmp_path


def edit(path: str, text: str) -> Callable[[Path], object]:
    return lambda root: (root / path).write_text(text)


def cache(root: Path) -> None:
    (root / "src" / "__pycache__").mkdir()
    (root / "src" / "__pycache__" / "a.cpython-311.pyc").write_bytes(b"x")


@pytest.mark.parametrize(
    "change",
    [
        edit("src/a.py", "2"),
        edit("src/b.py", ""),
        edit("requirements.txt", "torch==2"),
        edit("Dockerfile", DOCKERFILE.replace("COPY src src", "COPY src /src")),
        lambda root: (root / "src" / "a.py").chmod(0o755),
        lambda root: (root / "src" / "a.py").rename(root / "src" / "c.py"),
    ],
)
def test_every_input_changes_the_key(root: Path, change: Callable[[Path], object]) -> None:
    """Bytes, paths, executable bits and instructions all count."""
    before = keys.key(TRAINER, root)
    change(root)
    assert keys.key(TRAINER, root) != before


@pytest.mark.parametrize(
    "change",
    [
        edit("unrelated", "2"),
        edit("Dockerfile", "# a comment\n" + DOCKERFILE),
        edit("Dockerfile", DOCKERFILE.replace("unrelated unrelated", "unrelated /elsewhere")),
        cache,
    ],
)
def test_other_files_do_not_change_the_key(root: Path, change: Callable[[Path], object]) -> None:
    """Comments, other stages, files that no stage copies, and bytecode do not count."""
    before = keys.key(TRAINER, root)
    change(root)
    assert keys.key(TRAINER, root) == before


def test_code_leaves_the_heavy_layer_alone(root: Path) -> None:
    """The layer with torch is built again for its requirements only."""
    before = keys.key(HEAVY, root)
    (root / "src" / "a.py").write_text("changed")
    assert keys.key(HEAVY, root) == before
    (root / "requirements.txt").write_text("changed")
    assert keys.key(HEAVY, root) != before


def test_a_new_base_makes_everything_new(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every image stands on the base, so its key has the base's in it."""
    before = keys.key(TRAINER, root)
    monkeypatch.setattr(base, "PACKAGES", (*base.PACKAGES, "another"))
    assert keys.key(TRAINER, root) != before


def test_a_missing_source_is_named(root: Path) -> None:
    """A Dockerfile that copies what is not there says which."""
    (root / "requirements.txt").unlink()
    with pytest.raises(FileNotFoundError, match=r"requirements\.txt"):
        keys.key(TRAINER, root)


def test_every_image_of_the_catalogue_has_a_key() -> None:
    """References are complete, local and all different."""
    found = {keys.reference(image) for image in catalog.IMAGES}
    assert len(found) == len(catalog.IMAGES)
    assert all(one.startswith("localhost/mens-") and ":latest" not in one for one in found)
