"""A build reaches the packages that the machine reaches; no image learns from where."""

from __future__ import annotations

import stat
import tomllib
from pathlib import Path

import pytest

from hack.images import buildah, registries, targets
from hack.support import errors


def test_the_environment_wins_over_files() -> None:
    """pip's own order: PIP_INDEX_URL before pip.conf."""
    files = ["[global]\nindex-url = https://file.example/simple\ntimeout = 60\n"]
    assert registries.pip_settings({}, files)["index-url"] == "https://file.example/simple"
    found = registries.pip_settings({"PIP_INDEX_URL": "https://env.example/simple"}, files)
    assert found == {"index-url": "https://env.example/simple", "timeout": "60"}


def test_uv_asks_where_pip_asks() -> None:
    """uv.toml names the same indexes, the main one as default."""
    text = registries.uv_toml(
        {"index-url": "https://a.example/simple", "extra-index-url": "https://b.example/simple"}
    )
    assert tomllib.loads(text)["index"] == [
        {"url": "https://b.example/simple"},
        {"url": "https://a.example/simple", "default": True},
    ]


def test_nothing_configured_means_nothing_written() -> None:
    """Without settings the defaults of pip and uv hold."""
    assert registries.pip_conf({}) == ""
    assert registries.uv_toml({"timeout": "60"}) == ""


def test_credentials_are_gone_after_the_build(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Settings are readable by their owner alone, and deleted at the end."""
    monkeypatch.setenv("PIP_INDEX_URL", "https://user:secret@a.example/simple")
    with registries.settings(tmp_path) as mounts:
        written = [Path(source) for source in mounts if source.startswith(str(tmp_path))]
        assert len(written) == 2
        for path in written:
            assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert list(tmp_path.iterdir()) == []


def test_a_foreign_cluster_is_told_how(tmp_path: Path) -> None:
    """Without a registry the message has the commands; with one, references name it."""
    store = buildah.Store(tmp_path / "s", tmp_path / "r")
    ours = {"mens-operator": "localhost/mens-operator:1"}
    with pytest.raises(errors.ToolError, match="docker://REGISTRY/mens-operator:1") as raised:
        targets.for_foreign(store, ours, None)
    assert "MENS_REGISTRY" in str(raised.value)
    found = targets.for_foreign(store, ours, "r.example/team/")
    assert found == {"mens-operator": "r.example/team/mens-operator:1"}
