"""Clusters that are somebody's: how they are named, asked, and left as they were."""

from __future__ import annotations

from pathlib import Path

import pytest

import hack.cluster
from hack.cluster import cli, external
from hack.support import errors

VERSION = '#!/bin/sh\necho "$KUBECONFIG" >> "$(dirname "$0")/asked"\necho "{}"\n'
KIND = """#!/bin/sh
case "$*" in
  "get clusters") echo theirs ;;
  "get kubeconfig"*) echo "kind: Config" ;;
  "get nodes"*) echo one; echo two ;;
esac
"""
DOCKER = """#!/bin/sh
echo "REF TYPE DIGEST SIZE PLATFORMS LABELS"
echo "localhost/mens-corpus:1 application/x sha256:a 1 MiB linux -"
[ "$2" = two ] || echo "localhost/mens-server:1 application/x sha256:b 1 MiB linux -"
echo "sha256:a application/x sha256:a 1 MiB linux -"
"""


@pytest.fixture
def programs(roots: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that is all of PATH besides the shell's own tools."""
    folder = roots / "bin"
    folder.mkdir()
    for name in ("sh", "dirname", "echo"):
        (folder / name).symlink_to(f"/usr/bin/{name}")
    monkeypatch.setenv("PATH", str(folder))
    return folder


def program(folder: Path, name: str, text: str) -> None:
    (folder / name).write_text(text)
    (folder / name).chmod(0o755)


def test_a_list_of_kubeconfig_files_is_merged_as_kubectl_does(programs: Path, roots: Path) -> None:
    """KUBECONFIG=a:b works where one of them is there; none is an error that names them."""
    program(programs, "kubectl", VERSION)
    (roots / "there").touch()
    both = f"{roots}/absent:{roots}/there"
    found = external.find({"KUBECONFIG": both})
    assert found is not None
    assert found.environment()["KUBECONFIG"] == both
    assert (programs / "asked").read_text().split() == [both]
    with pytest.raises(errors.ToolError, match="absent:/nowhere does not exist"):
        external.find({"KUBECONFIG": f"{roots}/absent:/nowhere"})


def test_the_first_file_of_a_list_decides(programs: Path, roots: Path) -> None:
    """Its current context is the one that kubectl asks: ours is not the user's cluster."""
    ours, theirs = roots / "run" / "demo" / "kubeconfig", roots / "theirs"
    ours.parent.mkdir(parents=True)
    ours.touch()
    theirs.touch()
    assert external.find({"KUBECONFIG": f"{ours}:{theirs}"}) is None
    assert external.find({"KUBECONFIG": f"{theirs}:{ours}"}) is not None
    theirs.write_text('apiVersion: v1\ncurrent-context: ""\n')
    ours.write_text("apiVersion: v1\ncurrent-context: demo\n")
    assert external.find({"KUBECONFIG": f"{theirs}:{ours}"}) is None


def test_missing_clients_are_not_an_error_before_they_are_built(
    programs: Path, roots: Path
) -> None:
    """`make demo` builds kubectl and helm; until then nobody asks, and then they are found."""
    (roots / "theirs").touch()
    found = external.find({"KUBECONFIG": str(roots / "theirs")})
    assert found is not None
    assert external.lacking(found) == ["k8s", "helm"]
    with pytest.raises(errors.ToolError, match=r"hack\.cluster build k8s helm"):
        external.context(found)
    for name in ("kubectl", "helm"):
        (roots / "cache" / "bin" / name).mkdir(parents=True)
        program(roots / "cache" / "bin" / name, name, "#!/bin/sh\necho '{}'\n")
    found = external.find({"KUBECONFIG": str(roots / "theirs")})
    assert found is not None
    assert external.lacking(found) == []


def test_images_on_all_kind_nodes_are_not_loaded_again(programs: Path, roots: Path) -> None:
    """The nodes are asked; an image that one of them lacks counts as absent."""
    program(programs, "kind", KIND)
    program(programs, "docker", DOCKER)
    found = external.find({"MENS_CLUSTER": "kind"})
    assert found is not None
    assert hack.cluster.images(found) == {"localhost/mens-corpus:1"}


def test_kind_without_docker(programs: Path, roots: Path) -> None:
    """Its nodes are asked by what runs them; where nobody can be asked all is loaded again."""
    program(programs, "kind", KIND)
    found = external.find({"MENS_CLUSTER": "kind"})
    assert found is not None
    assert hack.cluster.images(found) == set()
    program(programs, "podman", DOCKER)
    assert hack.cluster.images(found) == {"localhost/mens-corpus:1"}


def test_nothing_of_kind_stays_behind(programs: Path, roots: Path) -> None:
    """The kubeconfig that was written for it goes; a file of the user's never does."""
    program(programs, "kind", KIND)
    found = external.find({"MENS_CLUSTER": "kind"})
    assert found is not None
    assert found.kubeconfig.exists()
    external.forget(found)
    assert list((roots / "run").iterdir()) == []
    (roots / "theirs").touch()
    theirs = external.find({"KUBECONFIG": str(roots / "theirs")})
    assert theirs is not None
    external.forget(theirs)
    assert (roots / "theirs").exists()


def test_status_shows_which_cluster_is_used(
    programs: Path, roots: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """None, ours or the user's: never silence."""
    assert cli.main(["status"]) == 0
    assert "no cluster" in capsys.readouterr().out
    program(
        programs, "kubectl", '#!/bin/sh\necho \'{"clusters": [{"cluster": {"server": "x:1"}}]}\''
    )
    (roots / "theirs").touch()
    monkeypatch.setenv("MENS_CLUSTER", "kubeconfig")
    monkeypatch.setenv("KUBECONFIG", str(roots / "theirs"))
    assert cli.main(["status"]) == 0
    assert f"your cluster at x:1, KUBECONFIG={roots / 'theirs'}" in capsys.readouterr().out


def test_help_says_when_whose_cluster_is_used() -> None:
    """A kind cluster that merely runs is never used."""
    assert "MENS_CLUSTER=kind uses the first cluster of kind's" in cli.DESCRIPTION
