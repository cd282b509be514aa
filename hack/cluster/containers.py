"""containerd: its start, its store, and `ctr`."""

import subprocess
from pathlib import Path
from typing import IO

from hack.cluster import sandbox
from hack.support import errors, wait

NAMESPACE = "k8s.io"
"""containerd's own namespace in which kubelet's runtime looks for images and containers."""


def ctr(
    containerd: Path,
    *arguments: str,
    stdin: IO[bytes] | int = subprocess.DEVNULL,
    check: bool = True,
) -> str:
    """Runs containerd's client in the Kubernetes namespace and returns what it printed."""
    command = ["ctr", "-a", str(containerd), "-n", NAMESPACE, *arguments]
    done = subprocess.run(command, stdin=stdin, capture_output=True, check=False)
    if check and done.returncode != 0:
        reason = done.stderr.decode(errors="replace").strip()
        raise errors.ToolError(f"ctr {' '.join(arguments)}: {reason}")
    return done.stdout.decode(errors="replace")


def start(box: sandbox.Sandbox, containerd: Path, configuration: Path) -> None:
    """Starts containerd and waits until it answers."""
    box.start("containerd", ["containerd", "-c", str(configuration)])

    def answering() -> bool:
        box.check("containerd")
        return containerd.exists() and "Server" in ctr(containerd, "version", check=False)

    try:
        wait.until("containerd's answer", answering, 30, 0.05)
    except errors.ToolError as error:
        raise errors.with_log(str(error), box.log("containerd")) from error


def restart(box: sandbox.Sandbox, containerd: Path, configuration: Path) -> None:
    """Ends containerd as asked politely and starts it again."""
    pid = box.running()["containerd"]
    subprocess.run([*sandbox.enter(box.init.pid), "kill", str(pid)], check=True)
    wait.until("containerd's end", lambda: "containerd" not in box.running(), 20, 0.05)
    containerd.unlink(missing_ok=True)
    start(box, containerd, configuration)


def remove_dead(containerd: Path) -> bool:
    """Removes the containers of earlier clusters, all dead; returns whether there were any.

    A sandbox is ended by killing it, so the kept store still lists its containers, and their
    writable layers still take space.
    """
    dead = ctr(containerd, "containers", "list", "-q").split()
    if dead:
        ctr(containerd, "containers", "delete", *dead, check=False)
    return bool(dead)
