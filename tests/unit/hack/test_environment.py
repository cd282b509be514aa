"""How the virtual environment comes to be, on the machines there are."""

from __future__ import annotations

import ast
import http.server
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from hack.cluster import preflight
from hack.images import registries
from hack.setup import environment

ROOT = Path(__file__).parents[3]
MIRROR = "[global]\nindex-url = https://u:p@mirror.test/simple\ntimeout = 7\n"


@pytest.mark.parametrize("room", ["setup", "cluster", "images", "demo"])
def test_an_old_python_gets_one_sentence(room: str) -> None:
    """What is missing and what to do, where an import would end in a traceback."""
    code = f"import sys; sys.version_info = (3, 9, 2); import hack.{room}"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert "is Python 3.9.2; Mens needs 3.11 or newer.\nfix: install one" in done.stderr
    assert "Traceback" not in done.stderr


def test_an_old_python_can_read_the_sentence() -> None:
    """A syntax of later would itself be the traceback."""
    ast.parse((ROOT / "hack" / "__init__.py").read_text(), feature_version=(3, 6))


def test_help_works_without_python() -> None:
    """`make help` works before anything is installed."""
    command = ["make", "help", "PYTHON=/nowhere/python"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stderr == ""
    assert "demo-down" in done.stdout


def test_a_python_without_ensurepip_lacks_a_package() -> None:
    """Debian's Python makes no environment until its venv package is there."""
    assert preflight.missing_packages("unit", module=lambda _: None) == [preflight.VENV_PACKAGE]
    assert preflight.missing_packages("unit") == []


def test_another_python_makes_another_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """After the system's upgrade the old environment is not taken for today's."""
    before = environment.key()
    monkeypatch.setattr(sys, "version_info", (3, 99, 0))
    assert environment.key() != before


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home of the test's own: what the developer's uv is set up for decides nothing."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr(registries, "UV_TOML", str(tmp_path / "etc.toml"))
    return tmp_path


def test_a_cache_folder_in_uv_toml_says_nothing_about_indexes(home: Path) -> None:
    """Only a file that names an index of its own keeps pip's from uv."""
    file = home / ".config" / "uv" / "uv.toml"
    file.parent.mkdir(parents=True)
    file.write_text('cache-dir = "/big/uv"\n')
    assert "UV_DEFAULT_INDEX" in registries.uv_environment({}, [MIRROR])
    for own in ('index-url = "x"', '[[index]]\nurl = "x"', 'default-index = "x"'):
        file.write_text(f"{own}\n")
        assert "UV_DEFAULT_INDEX" not in registries.uv_environment({}, [MIRROR])


@pytest.mark.parametrize(("pip", "uv"), [("15.5", "16"), ("7", "7"), ("soon", None)])
def test_a_timeout_is_whole_seconds(pip: str, uv: str | None) -> None:
    """uv stops at a fraction, and at anything that is not a number."""
    found = registries.uv_environment({}, [f"[global]\ntimeout = {pip}\n"])
    assert found.get("UV_HTTP_TIMEOUT") == uv


def test_uv_gets_the_configuration_of_pip() -> None:
    """uv reads no pip configuration: behind a mirror it would reach nothing."""
    found = registries.uv_environment(
        {"PIP_EXTRA_INDEX_URL": "https://a.test\nhttps://b.test"}, [MIRROR]
    )
    assert found["UV_DEFAULT_INDEX"] == "https://u:p@mirror.test/simple"
    assert found["UV_INDEX"] == "https://a.test https://b.test"
    assert found["UV_HTTP_TIMEOUT"] == "7"


def test_configuration_of_uv_itself_wins() -> None:
    """A configured uv does not use the index of pip."""
    found = registries.uv_environment(
        {"UV_INDEX_URL": "https://own.test", "UV_HTTP_TIMEOUT": "9"}, [MIRROR]
    )
    assert not {"UV_DEFAULT_INDEX", "UV_INDEX", "UV_HTTP_TIMEOUT"} & found.keys()


class _Index(http.server.BaseHTTPRequestHandler):
    asked: list[str]

    def do_GET(self) -> None:
        self.asked.append(self.path)
        self.send_error(404)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def index() -> Iterator[http.server.ThreadingHTTPServer]:
    _Index.asked = []
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Index) as server:
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        yield server
        server.shutdown()


def test_uv_asks_the_mirror_of_pip(
    index: http.server.ThreadingHTTPServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The environment's own installer, told by PIP_INDEX_URL alone."""
    for name in registries.UV_INDEXES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PIP_INDEX_URL", f"http://127.0.0.1:{index.server_port}/simple")
    uv = [str(environment.VENV / "bin" / "uv"), "pip", "install", "--dry-run", "--no-cache"]
    subprocess.run(
        [*uv, "--python", sys.executable, "mens-nowhere"],
        env=environment.variables(),
        capture_output=True,
        check=False,
    )
    assert _Index.asked == ["/simple/mens-nowhere/"]
