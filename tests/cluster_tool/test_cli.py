"""The command line, as far as it needs no cluster."""

from pathlib import Path

import pytest

from hack.cluster import cli, clusters
from hack.support import processes

COMMANDS = ("build", "up", "down", "status", "shell", "exec", "import", "preflight", "prune")


def test_help_names_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    """A person finds all commands in one place."""
    with pytest.raises(SystemExit):
        cli.main(["--help"])
    shown = capsys.readouterr().out
    assert [each for each in COMMANDS if each not in shown] == []


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_explains_itself(command: str) -> None:
    """`--help` works everywhere."""
    with pytest.raises(SystemExit) as ended:
        cli.main([command, "--help"])
    assert ended.value.code == 0


def test_missing_cluster_names_the_command(roots: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The error says how to get one, without a traceback."""
    assert cli.main(["images", "--name", "nothing"]) == 1
    assert "hack.cluster up --name nothing" in capsys.readouterr().err


def test_down_without_a_cluster_is_not_an_error(roots: Path) -> None:
    """Ending what does not run is fine."""
    assert cli.main(["down", "--name", "nothing"]) == 0


def test_record_round_trip(roots: Path) -> None:
    """`load` gives back what `save` was given."""
    run = roots / "run" / "x"
    run.mkdir(parents=True)
    cluster = clusters.Cluster(
        name="x",
        kind=clusters.Kind.EMBEDDED,
        kubeconfig=run / "kubeconfig",
        kubectl=Path("/k"),
        helm=Path("/h"),
        run=run,
        node=True,
        kwok=False,
        ready=False,
        sandbox=processes.Process(1, 2),
        parent=processes.Process(3, 4),
    )
    clusters.save(cluster)
    assert clusters.load("x") == cluster
    assert clusters.names() == ["x"]
