"""Where things lie, whatever way the user names the folder."""

from pathlib import Path

import pytest

from hack.support import paths


@pytest.mark.parametrize(
    ("configured", "meant"),
    [
        ("", "home/.cache/mens"),
        ("~/kept", "home/kept"),
        ("kept", "work/kept"),
        ("/kept", "/kept"),
    ],
)
def test_the_cache_has_one_meaning(
    configured: str, meant: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A `~` and a relative folder give an absolute folder."""
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("MENS_CACHE", configured)
    assert paths.cache() == tmp_path / meant
