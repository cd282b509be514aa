"""kubectl and helm as the demo uses them: the commands of any user, with deadlines."""

from __future__ import annotations

import contextlib
import json
import os
import re
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Any

from hack.demo import console
from hack.support import errors


class DemoError(errors.ToolError):
    """A command or a resource failed; the message names what to look at."""


class Kubectl:
    """kubectl and helm against one cluster."""

    def __init__(self, kubeconfig: Path, kubectl: Path, helm: Path) -> None:
        self.kubeconfig = kubeconfig
        self.kubectl_path = kubectl
        self.helm_path = helm

    def __call__(self, *words: str, stdin: str | None = None, check: bool = True) -> str:
        """Runs kubectl and returns its standard output; DemoError with the end of stderr."""
        return self._run([str(self.kubectl_path), *words], stdin, check)

    def helm(self, *words: str) -> str:
        """Run helm."""
        return self._run([str(self.helm_path), *words], None, True)

    def _run(self, command: Sequence[str], stdin: str | None, check: bool) -> str:
        try:
            done = subprocess.run(
                command, input=stdin, capture_output=True, text=True, env=self._env(), check=False
            )
        except FileNotFoundError as error:
            raise DemoError(
                f"{command[0]} is not on PATH: `python -m hack.cluster build k8s helm` builds both"
            ) from error
        if check and done.returncode != 0:
            raise DemoError(f"{' '.join(command)}\n{done.stderr.strip()[-2000:]}")
        return done.stdout

    def _env(self) -> dict[str, str]:
        return {**os.environ, "KUBECONFIG": str(self.kubeconfig)}

    def get(self, namespace: str, kind: str, name: str) -> dict[str, Any] | None:
        """Returns one object, or None if it does not exist."""
        words = ("-n", namespace, "get", kind, name, "-o", "json", "--ignore-not-found")
        text = self(*words)
        found: dict[str, Any] | None = json.loads(text) if text.strip() else None
        return found

    def apply(self, *documents: Mapping[str, Any]) -> None:
        """Applies objects; their namespace is in their metadata."""
        # A List, not a stream: kubectl 1.32 takes no `---` between documents of JSON.
        listed = {"apiVersion": "v1", "kind": "List", "items": list(documents)}
        self("apply", "-f", "-", stdin=json.dumps(listed))

    def wait(
        self,
        what: tuple[str, str, str],
        condition: str,
        *,
        seconds: float,
        show: Callable[[dict[str, Any]], str],
    ) -> dict[str, Any]:
        """Waits until a condition of the current generation is True, and shows the progress.

        `Succeeded=False` is final and ends the wait at once. `Ready=False` only means not yet.
        """
        namespace, kind, name = what
        deadline = time.monotonic() + seconds
        line = console.Line(f"{kind}/{name}")
        while True:
            found = self.get(namespace, kind, name) or {}
            state = condition_of(found, condition)
            if state.get("status") == "True":
                line.end()
                return found
            reason = f"{state.get('reason', 'Pending')}: {state.get('message', '')}"
            if state.get("status") == "False" and condition == "Succeeded":
                raise DemoError(f"{kind}/{name} failed: {reason}")
            if time.monotonic() > deadline:
                raise DemoError(f"{kind}/{name} is not {condition} after {seconds:.0f} s: {reason}")
            line.update(show(found) or reason)
            time.sleep(0.5)

    @contextlib.contextmanager
    def forward(self, namespace: str, target: str, port: int) -> Iterator[str]:
        """`kubectl port-forward` to a free local port; yields `127.0.0.1:<port>`."""
        command = [str(self.kubectl_path), "-n", namespace, "port-forward", target, f":{port}"]
        # Leaving the `with` waits for the process and closes its pipe.
        with subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env=self._env(),
        ) as process:
            try:
                line = process.stdout.readline() if process.stdout else ""
                found = re.search(r"127\.0\.0\.1:(\d+)", line)
                if found is None:
                    raise DemoError(f"port-forward to {target} failed: {line.strip()}")
                threading.Thread(target=_drain, args=(process.stdout,), daemon=True).start()
                yield f"127.0.0.1:{found.group(1)}"
            finally:
                process.terminate()


def _drain(pipe: IO[str] | None) -> None:
    # It prints a line for every connection and hangs once the pipe is full, after some 2000.
    for _ in pipe or ():
        pass


def condition_of(found: Mapping[str, Any], kind: str) -> dict[str, Any]:
    """Returns a condition of the current spec; empty if it does not exist yet."""
    generation = found.get("metadata", {}).get("generation", 0)
    for one in found.get("status", {}).get("conditions", []):
        if one["type"] == kind and one.get("observedGeneration", 0) >= generation:
            return dict(one)
    return {}
