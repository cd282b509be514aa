"""Starts a sandbox (one set of namespaces under one PID 1) and talks to that PID 1."""

import contextlib
import dataclasses
import json
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from hack.cluster import folders, init, mountpoints
from hack.support import errors, processes, wait

NODE_IP = "10.89.0.1"
"""The sandbox's own address: the API server advertises it, so loopback will not do."""

POD_NETWORK = "10.88.0.0/16"
"""Pods' addresses; they exist only inside the sandbox."""

NETWORK = (
    ("ip", "link", "set", "lo", "up"),
    # A bridge without ports: some kernels have no dummy device.
    ("ip", "link", "add", "node0", "type", "bridge"),
    ("ip", "address", "add", f"{NODE_IP}/24", "dev", "node0"),
    ("ip", "link", "set", "node0", "up"),
    # kubelet and its friends look for a default route; this one leads nowhere.
    ("ip", "route", "add", "default", "via", NODE_IP, "dev", "node0"),
)

FORWARDING = ("ipv4/ip_forward", "ipv4/conf/all/route_localnet", "bridge/bridge-nf-call-iptables")
"""Belong to the network namespace: setting them changes nothing on the machine."""

SYSCTLS = {
    "vm/overcommit_memory": "1",
    "vm/panic_on_oom": "0",
    "kernel/panic": "10",
    "kernel/panic_on_oops": "1",
    "kernel/keys/root_maxkeys": "1000000",
    "kernel/keys/root_maxbytes": "25000000",
}
"""What kubelet insists on and would set for the whole machine: it is shown files instead."""

MASKED = (
    "/var/lib/kubelet",
    "/var/lib/cni",
    "/var/log/containers",
    "/run/containerd",
    "/run/netns",
)
"""Host folders into which kubelet, containerd and CNI write whatever their configuration says."""


@dataclasses.dataclass(frozen=True)
class Sandbox:
    """The two processes of a sandbox, as the host sees them, and where its PID 1 listens."""

    run: Path
    parent: processes.Process
    """unshare, which waits for PID 1 and takes it along when it is killed."""

    init: processes.Process

    def start(
        self,
        name: str,
        argv: Sequence[str],
        environment: Mapping[str, str] | None = None,
        listener: socket.socket | None = None,
    ) -> int:
        """Starts a component inside; its output goes to logs/NAME.log.

        Args:
            name: What `state` calls it.
            argv: The command; `init.LISTENER` in it becomes the number of `listener`.
            environment: Added to PID 1's own.
            listener: A socket from outside that the component may accept connections on.

        Returns:
            Its process number inside the sandbox.
        """
        request = {
            "do": "start",
            "name": name,
            "argv": list(argv),
            "log": str(self.log(name)),
            "environment": dict(environment or {}),
        }
        pid: int = self._ask(request, [] if listener is None else [listener.fileno()])["pid"]
        return pid

    def ended(self) -> dict[str, int]:
        """Returns the exit status of each component that has ended."""
        ended: dict[str, int] = self._ask({"do": "state"}, [])["ended"]
        return ended

    def running(self) -> dict[str, int]:
        """Returns the process number, inside the sandbox, of each component that runs."""
        running: dict[str, int] = self._ask({"do": "state"}, [])["running"]
        return running

    def check(self, *names: str) -> None:
        """Raises an error with the end of the log if one of these components has ended."""
        if not self.init.alive():
            raise errors.with_log("the sandbox ended", self.log("init"))
        ended = self.ended()
        for name in names:
            if name in ended:
                raise errors.with_log(f"{name} ended with status {ended[name]}", self.log(name))

    def log(self, name: str) -> Path:
        """Returns the log of a component."""
        return self.run / "logs" / f"{name}.log"

    def _ask(self, request: dict[str, Any], descriptors: list[int]) -> dict[str, Any]:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
            connection.settimeout(30)
            connection.connect(str(_socket(self.run)))
            socket.send_fds(connection, [json.dumps(request).encode()], descriptors)
            answer: dict[str, Any] = json.loads(connection.makefile().read())
        if "error" in answer:
            raise errors.ToolError(
                f"PID 1 could not {request['do']} {request.get('name')}: {answer['error']}"
            )
        return answer


def enter(init_pid: int) -> list[str]:
    """Returns the command prefix that runs a program inside the sandbox."""
    return ["nsenter", "-t", str(init_pid), "-m", "-n", "-p", "-i", "-u", "--"]


def create(name: str, hostname: str, locks: Sequence[int] = ()) -> Sandbox:
    """Starts a sandbox and waits until its PID 1 answers.

    Args:
        name: The cluster's name, which gives the folders.
        hostname: What the sandbox calls itself.
        locks: Lock descriptors PID 1 keeps open, and so holds, until it dies.

    Call it with the mount points guarded until the cluster's record is written.
    """
    run = folders.run(name)
    (run / "logs").mkdir(parents=True, exist_ok=True)
    mountpoints.ensure(MASKED)
    plan = run / "plan.json"
    plan.write_text(json.dumps(dataclasses.asdict(_plan(name, hostname)), indent=1))
    log = run / "logs" / "init.log"
    namespaces = ("--mount", "--net", "--pid", "--ipc", "--uts", "--propagation", "private")
    command = ["unshare", *namespaces, "--fork", "--kill-child", "--mount-proc"]
    # By path and without this package's folder on the module path (-P): PID 1 imports only the
    # standard library and stays small.
    command += [sys.executable, "-P", "-B", str(init.__file__), str(plan)]
    with log.open("ab") as output:
        unshare = subprocess.Popen(
            command,
            cwd="/",
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            pass_fds=tuple(locks),
            start_new_session=True,
        )
    return _await(run, unshare)


def _await(run: Path, unshare: "subprocess.Popen[bytes]") -> Sandbox:
    def listening() -> bool:
        if unshare.poll() is not None:
            raise errors.with_log("the sandbox could not be made", run / "logs" / "init.log")
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
            return probe.connect_ex(str(_socket(run))) == 0

    try:
        wait.until("the sandbox's PID 1 listening", listening, 20, 0.02)
        parent = processes.identify(unshare.pid)
        assert parent is not None
        # It outlives this object on purpose; `Process.kill` reaps it.
        unshare.returncode = 0
        return Sandbox(run, parent, parent.children()[0])
    except BaseException:
        with contextlib.suppress(ProcessLookupError):
            unshare.kill()
        unshare.wait()
        raise


def _plan(name: str, hostname: str) -> init.Plan:
    run, scratch = folders.run(name), folders.scratch(name)
    masks = {}
    for host in MASKED:
        own = scratch / "masks" / host.strip("/").replace("/", "-")
        own.mkdir(parents=True, exist_ok=True)
        masks[host] = str(own)
    sysctls = {}
    (run / "sysctl").mkdir(exist_ok=True)
    for key, value in SYSCTLS.items():
        shown = run / "sysctl" / key.replace("/", "-")
        shown.write_text(value + "\n")
        sysctls[f"/proc/sys/{key}"] = str(shown)
    return init.Plan(
        run=str(run),
        hostname=hostname,
        socket=str(_socket(run)),
        masks=masks,
        sysctls=sysctls,
        network=[list(command) for command in NETWORK],
        forwarding=list(FORWARDING),
    )


def _socket(run: Path) -> Path:
    return run / "init.sock"
