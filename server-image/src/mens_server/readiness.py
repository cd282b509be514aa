"""What /ready says: the phase of loading, why it stands still, and each adapter's state."""

from __future__ import annotations

import threading
import time
from typing import Any, Final

READY: Final = "Ready"
"""The last phase."""
DRAINING: Final = "Draining"
"""After SIGTERM."""


class Readiness:
    """Written by the loader's thread, read by the probes."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._began = time.monotonic()
        self._facts: dict[str, Any] = {"phase": "Starting", "reason": "", "message": ""}
        self._note = ""
        self._adapters: dict[str, dict[str, Any]] = {}
        self._seconds: dict[str, float] = {}
        self._phase_began = self._began

    @property
    def ready(self) -> bool:
        """Whether requests are welcome."""
        return bool(self._facts["phase"] == READY)

    def enter(self, phase: str) -> None:
        """A phase begins; what was wrong in an earlier attempt is said until it is overcome."""
        with self._lock:
            now = time.monotonic()
            spent = self._seconds.get(self._facts["phase"], 0.0)
            self._seconds[self._facts["phase"]] = spent + now - self._phase_began
            self._phase_began = now
            kept = {} if phase in (READY, DRAINING) else self._facts
            self._facts = {
                "phase": phase,
                "reason": kept.get("reason", ""),
                "message": kept.get("message", ""),
            }

    def overcome(self) -> None:
        """What was wrong is over."""
        with self._lock:
            self._facts |= {"reason": "", "message": ""}

    def progress(self, done: int, total: int) -> None:
        """Bytes of the current phase."""
        with self._lock:
            self._facts["progress"] = {"doneBytes": done, "totalBytes": total}

    def trouble(self, reason: str, message: str) -> None:
        """The current phase stands still; it is tried again."""
        with self._lock:
            self._facts |= {"reason": reason, "message": message}

    def note(self, text: str) -> None:
        """What the user should know although nothing is wrong."""
        with self._lock:
            self._note = text

    def adapter(self, name: str, digest: str, *, state: str, reason: str, message: str) -> None:
        """State of one adapter: Waiting, Loaded or KeptOut."""
        with self._lock:
            self._adapters[name] = {
                "name": name,
                "digest": digest,
                "state": state,
                "reason": reason,
                "message": message,
            }

    def report(self) -> dict[str, Any]:
        """JSON of everything."""
        with self._lock:
            return {
                "ready": self.ready,
                **self._facts,
                "note": self._note,
                "adapters": list(self._adapters.values()),
                "seconds": {phase: round(spent, 3) for phase, spent in self._seconds.items()},
            }
