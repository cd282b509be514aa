"""Carries connections from a socket of the host into the sandbox: `relay.py FD ADDRESS PORT`.

The listening socket was made outside and passed in, so it accepts the host's connections while
this process lives inside and dies with the sandbox. Run by path, standard library only.
"""

import contextlib
import socket
import sys
import threading

CHUNK = 256 * 1024
"""Bytes per read: model files go through here, and smaller reads are bound by system calls."""


def serve(listener: socket.socket, target: tuple[str, int]) -> None:
    """Accepts connections until it is killed, each with two threads, one per direction."""
    while True:
        outside, _ = listener.accept()
        threading.Thread(target=_connect, args=(outside, target), daemon=True).start()


def _connect(outside: socket.socket, target: tuple[str, int]) -> None:
    try:
        inside = socket.create_connection(target, timeout=30)
    except OSError as error:
        print(f"{target}: {error}", flush=True)
        outside.close()
        return
    inside.settimeout(None)
    for each in (outside, inside):
        each.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    back = threading.Thread(target=_carry, args=(inside, outside), daemon=True)
    back.start()
    _carry(outside, inside)
    back.join()
    outside.close()
    inside.close()


def _carry(source: socket.socket, sink: socket.socket) -> None:
    """Copies one direction until its end, then shuts down the other side's."""
    with contextlib.suppress(OSError):
        while data := source.recv(CHUNK):
            sink.sendall(data)
    # Half-closed connections are normal (a client that sent its whole request); a broken one
    # ends both directions, because the partner's recv returns too.
    with contextlib.suppress(OSError):
        sink.shutdown(socket.SHUT_WR)


def main() -> None:
    """Takes the listener by its number and serves until it is killed."""
    descriptor, address, port = sys.argv[1:]
    serve(socket.socket(fileno=int(descriptor)), (address, int(port)))


if __name__ == "__main__":
    main()
