"""A minimal API client with the standard library: no client package is installed yet."""

import json
import ssl
import urllib.error
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hack.support import errors

Object = dict[str, Any]
"""A Kubernetes object as JSON gives it."""


class Client:
    """The API server of one embedded cluster, as its administrator."""

    def __init__(self, server: str, pki: Path) -> None:
        self.server = server
        self._context = ssl.create_default_context(cafile=str(pki / "ca.crt"))
        self._context.load_cert_chain(pki / "admin.crt", pki / "admin.key")
        # No proxy: the address is this machine's own, whatever the environment says.
        self._opener = urllib.request.build_opener(
            urllib.request.ProxyHandler({}),
            urllib.request.HTTPSHandler(context=self._context),
        )

    def answers(self, path: str) -> bool:
        """Reports whether a GET returns 200; False for an unreachable server."""
        try:
            with self._opener.open(self.server + path, timeout=5) as answer:
                return bool(answer.status == 200)
        except OSError:
            return False

    def get(self, path: str) -> Object | None:
        """Returns an object; None if it does not exist or the server does not answer yet."""
        try:
            with self._opener.open(self.server + path, timeout=10) as answer:
                found: Object = json.load(answer)
        except OSError:
            return None
        return found

    def apply(self, path: str, wanted: Mapping[str, Any]) -> Object:
        """Applies one object by server-side apply."""
        return self._patch(
            f"{path}?fieldManager=mens-cluster&force=true", wanted, "application/apply-patch+yaml"
        )

    def merge(self, path: str, change: Mapping[str, Any]) -> Object:
        """Changes the named fields of one object."""
        return self._patch(path, change, "application/merge-patch+json")

    def _patch(self, path: str, body: Mapping[str, Any], content_type: str) -> Object:
        request = urllib.request.Request(
            self.server + path,
            data=json.dumps(body).encode(),
            method="PATCH",
            headers={"Content-Type": content_type},
        )
        try:
            with self._opener.open(request, timeout=30) as answer:
                found: Object = json.load(answer)
        except urllib.error.HTTPError as error:
            reason = error.read().decode(errors="replace")
            raise errors.ToolError(f"PATCH {path}: {error.code} {reason}") from error
        except OSError as error:
            raise errors.ToolError(f"PATCH {path}: {error}") from error
        return found
