"""Image archives written and read without any tool."""

import tarfile
from pathlib import Path

import pytest

from hack.cluster import oci
from hack.support import errors


def test_same_inputs_same_bytes(tmp_path: Path) -> None:
    """An image of the same files has the same digest, whenever it was written."""
    for name in ("a", "b"):
        oci.write(tmp_path / name, "localhost/x:1", {"x": b"program"}, ["/x"])
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_written_name_is_read(tmp_path: Path) -> None:
    """What was written is what the import looks for."""
    oci.write(tmp_path / "a", "localhost/x:1", {"x": b"program"}, ["/x"])
    (found,) = oci.references(tmp_path / "a")
    assert found.name == "localhost/x:1"
    assert found.digest.startswith("sha256:")


def test_folder_and_archive_are_the_same_image(tmp_path: Path) -> None:
    """An OCI folder streams as an archive with the same references."""
    oci.write(tmp_path / "a", "localhost/x:1", {"x": b"program"}, ["/x"])
    with tarfile.open(tmp_path / "a") as archive:
        archive.extractall(tmp_path / "folder", filter="data")
    with (tmp_path / "b").open("wb") as output:
        oci.stream(tmp_path / "folder", output)
    assert oci.references(tmp_path / "folder") == oci.references(tmp_path / "a")
    assert oci.references(tmp_path / "b") == oci.references(tmp_path / "a")


def test_broken_archive_is_named(tmp_path: Path) -> None:
    """The error says which file cannot be read."""
    (tmp_path / "a").write_bytes(b"not a tar")
    with pytest.raises(errors.ToolError, match="a is not a readable image archive"):
        oci.references(tmp_path / "a")
