"""The border's relay: bytes go both ways, and ends are told."""

import contextlib
import socket
import threading
from collections.abc import Iterator

import pytest

from hack.cluster import relay


@pytest.fixture
def echo() -> Iterator[tuple[str, int]]:
    """A server that answers with all it got once the client is done."""
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            with connection:
                connection.sendall(_all(connection)[::-1])

    threading.Thread(target=serve, daemon=True).start()
    yield listener.getsockname()
    listener.close()


def _through(target: tuple[str, int], data: bytes) -> bytes:
    listener = socket.create_server(("127.0.0.1", 0))
    threading.Thread(target=relay.serve, args=(listener, target), daemon=True).start()
    with socket.create_connection(listener.getsockname(), timeout=10) as client:
        client.sendall(data)
        client.shutdown(socket.SHUT_WR)
        return _all(client)


def _all(source: socket.socket) -> bytes:
    return b"".join(iter(lambda: source.recv(65536), b""))


def test_half_closed_request_gets_its_whole_answer(echo: tuple[str, int]) -> None:
    """A client that is done sending still receives everything."""
    data = bytes(range(256)) * 4096
    assert _through(echo, data) == data[::-1]


def test_an_unreachable_target_closes_the_connection() -> None:
    """An unreachable target ends the connection instead of hanging."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        target = free.getsockname()
    with contextlib.suppress(OSError):  # ENOTCONN: the end may come before our shutdown
        assert _through(target, b"x") == b""
