"""Stores that lie: they prove that we notice.

`LyingStore` stands before any store and damages what it returns; `CrashingStore` dies after some
writes; `lying_proxy` is an HTTP proxy before a real S3 server that damages object bodies on the
wire and makes the headers fit the lie, so that no transport check can help.
"""

from __future__ import annotations

import contextlib
import http.client
import http.server
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import urlsplit

from mens.artifacts import digests, refs, store
from tests.support import memory_store

Damage = Callable[[bytes], bytes]
"""What is done to an object's bytes on their way to the reader."""


def truncate(data: bytes) -> bytes:
    """Half of the bytes are lost."""
    return data[: len(data) // 2]


def flip(data: bytes) -> bytes:
    """One bit in the middle is turned."""
    at = len(data) // 2
    return data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :] if data else data


def append(data: bytes) -> bytes:
    """One byte too many."""
    return data + b"\0"


class LyingStore(memory_store.MemoryStore):
    """A store in memory that damages objects whose key starts with `prefix` when it is `armed`."""

    def __init__(self, damage: Damage, prefix: str = "blobs/") -> None:
        super().__init__(["mens"])
        self.damage = damage
        self.prefix = prefix
        self.armed = True

    def get_bytes(self, uri: refs.Uri, *, max_bytes: int = store.SMALL) -> bytes:
        data = super().get_bytes(uri, max_bytes=max_bytes)
        return self.damage(data) if self.armed and uri.key.startswith(self.prefix) else data


class ForgetfulStore(memory_store.MemoryStore):
    """A store that says yes to every write and keeps half of each blob."""

    def __init__(self) -> None:
        super().__init__(["mens"])

    def put_file(self, uri: refs.Uri, path: Path, digest: digests.Digest) -> None:
        self.put_bytes(uri, truncate(path.read_bytes()))


class UnconditionalStore(memory_store.MemoryStore):
    """A store that ignores `If-None-Match`, as some S3 servers do."""

    def __init__(self) -> None:
        super().__init__(["mens"])

    def put_bytes(self, uri: refs.Uri, data: bytes, *, if_absent: bool = False) -> bool:
        return super().put_bytes(uri, data)


class CrashedError(Exception):
    """The process died."""


class CrashingStore(memory_store.MemoryStore):
    """A store whose user dies just before write number `writes_left + 1`."""

    def __init__(self) -> None:
        super().__init__(["mens"])
        self.writes_left = 10**9
        self.writes = 0

    def put_bytes(self, uri: refs.Uri, data: bytes, *, if_absent: bool = False) -> bool:
        if self.writes_left <= 0:
            raise CrashedError
        self.writes_left -= 1
        self.writes += 1
        return super().put_bytes(uri, data, if_absent=if_absent)


class Proxy:
    """A lying HTTP proxy before an S3 server."""

    def __init__(self, endpoint: str, upstream: str) -> None:
        self.endpoint = endpoint
        self.upstream = urlsplit(upstream).netloc
        self.damage: Damage | None = None
        """What happens to bodies of GET answers for blobs; None forwards them as they are."""
        self.ignore_conditions = False
        """Whether `If-None-Match` is dropped on the way."""


@contextlib.contextmanager
def lying_proxy(upstream: str) -> Iterator[Proxy]:
    """Run a proxy before `upstream`; requests keep their Host, so signatures stay valid."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    proxy = Proxy(f"http://127.0.0.1:{server.server_port}", upstream)
    server.proxy = proxy  # type: ignore[attr-defined]
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield proxy
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def _forward(self) -> None:
        proxy: Proxy = self.server.proxy  # type: ignore[attr-defined]
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        headers = {k: v for k, v in self.headers.items() if k.lower() != "expect"}
        if proxy.ignore_conditions:
            headers = {k: v for k, v in headers.items() if k.lower() != "if-none-match"}
        connection = http.client.HTTPConnection(proxy.upstream, timeout=20)
        try:
            connection.request(self.command, self.path, body=body, headers=headers)
            answer = connection.getresponse()
            data = answer.read()
        finally:
            connection.close()
        is_blob = self.command == "GET" and "/blobs/" in self.path and answer.status == 200
        if proxy.damage is not None and is_blob:
            data = proxy.damage(data)
        self.send_response(answer.status)
        length = answer.getheader("Content-Length", "0") if self.command == "HEAD" else len(data)
        for key, value in answer.getheaders():
            if key.lower() not in {"content-length", "transfer-encoding", "connection", "date"}:
                self.send_header(key, value)
        self.send_header("Content-Length", str(length))
        self.end_headers()
        self.wfile.write(data)

    do_GET = do_PUT = do_HEAD = do_POST = do_DELETE = _forward  # noqa: N815

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        """Say nothing."""
