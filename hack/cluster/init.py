"""PID 1 of a sandbox: prepares the namespaces, starts components on request, reaps the dead.

It runs as `python init.py PLAN`, inside the new namespaces. When it dies the kernel
ends every process, mount, link and rule of the sandbox with it, so nothing needs to be undone.
Requests come as one JSON line per connection on a unix socket, which can also carry a listening
TCP socket that was opened outside: a socket stays in the network namespace in which it was made,
and so the host reaches the sandbox without any process outside.
"""

import contextlib
import dataclasses
import json
import os
import pathlib
import select
import signal
import socket
import subprocess
import sys
from collections.abc import Sequence
from typing import Any

LISTENER = "{listener}"
"""Stands in a command for the number of the listening socket that came with the request."""


@dataclasses.dataclass(frozen=True)
class Plan:
    """What PID 1 does before it answers: given by the host side as JSON."""

    run: str
    hostname: str
    socket: str
    masks: dict[str, str]
    """Host folder → folder of this cluster that is mounted over it."""

    sysctls: dict[str, str]
    """File below /proc/sys → file mounted over it."""

    network: list[list[str]]
    """Commands that build the network, in order."""

    forwarding: list[str]
    """Files below /proc/sys/net to set to 1 where they exist; they belong to the namespace."""


class Init:
    """The state of PID 1: which component has which process, and how the dead ones ended."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._running: dict[int, str] = {}
        self._ended: dict[str, int] = {}

    def prepare(self) -> None:
        """Makes the sandbox look like a machine of its own."""
        for host, own in {**self._plan.masks, **self._plan.sysctls}.items():
            _run(["mount", "--bind", own, host])
        # kubelet mounts volumes that containerd's children must see.
        _run(["mount", "--make-rshared", "/"])
        socket.sethostname(self._plan.hostname)
        for command in self._plan.network:
            _run(command)
        for name in self._plan.forwarding:
            with contextlib.suppress(FileNotFoundError):
                pathlib.Path("/proc/sys/net", name).write_text("1\n")

    def serve(self) -> None:
        """Answers requests and reaps children until it is killed."""
        woken, wake = os.pipe()
        os.set_blocking(wake, False)
        os.set_blocking(woken, False)
        signal.set_wakeup_fd(wake, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        listener.bind(self._plan.socket)
        listener.listen(16)
        while True:
            ready, _, _ = select.select([listener.fileno(), woken], [], [])
            if woken in ready:
                with contextlib.suppress(BlockingIOError):
                    os.read(woken, 4096)
                self._reap()
            if listener.fileno() in ready:
                connection, _ = listener.accept()
                with connection:
                    self._answer(connection)

    def _answer(self, connection: socket.socket) -> None:
        line, descriptors, _, _ = socket.recv_fds(connection, 1 << 20, 1)
        try:
            request = json.loads(line)
            if request.pop("do") == "start":
                answer = self._start(descriptors=descriptors, **request)
            else:
                answer = self._state()
        except Exception as error:  # PID 1 must outlive every bad request
            answer = {"error": repr(error)}
        finally:
            for descriptor in descriptors:
                os.close(descriptor)
        with contextlib.suppress(OSError):
            connection.sendall(json.dumps(answer).encode())

    def _start(
        self,
        name: str,
        argv: list[str],
        log: str,
        environment: dict[str, str],
        descriptors: Sequence[int],
    ) -> dict[str, Any]:
        with open(log, "ab", buffering=0) as output:  # noqa: PTH123 - a descriptor, not a text
            child = subprocess.Popen(
                [part.replace(LISTENER, str(descriptors[0])) for part in argv]
                if descriptors
                else argv,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env={**os.environ, **environment},
                pass_fds=descriptors,
                start_new_session=True,
            )
        self._running[child.pid] = name
        self._ended.pop(name, None)
        # This process reaps all children itself; without this Popen would warn at its end.
        child.returncode = 0
        return {"pid": child.pid}

    def _state(self) -> dict[str, Any]:
        running = {name: pid for pid, name in self._running.items()}
        return {"running": running, "ended": self._ended}

    def _reap(self) -> None:
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            name = self._running.pop(pid, None)
            if name is not None:
                self._ended[name] = os.waitstatus_to_exitcode(status)


def _run(command: Sequence[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        sys.exit(f"{' '.join(command)} failed: {done.stderr.strip()}")


def main() -> None:
    """Reads the plan named on the command line and becomes the sandbox's PID 1."""
    plan = Plan(**json.loads(pathlib.Path(sys.argv[1]).read_text()))
    init = Init(plan)
    init.prepare()
    init.serve()


if __name__ == "__main__":
    main()
