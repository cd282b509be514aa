"""The real cluster, through `kubernetes.aio` with raw JSON: the only kubernetes client.

Typed models cost three times the CPU of raw dictionaries (2.4 ms against 0.86 ms per apply), and a
typed patch without `_content_type` silently becomes another kind of patch. So: paths and dicts.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping
from typing import Any, Final
from urllib.parse import urlencode

import aiohttp
from kubernetes.aio.client.api_client import ApiClient
from kubernetes.aio.client.configuration import Configuration

from mens_operator.cluster import errors, kinds, port

_APPLY: Final = "application/apply-patch+yaml"
_WRITE_TIMEOUT: Final = aiohttp.ClientTimeout(total=3, connect=3)
"""The client's default is five minutes. The lease's arithmetic allows a write 3 s on the wire."""
_READ_TIMEOUT: Final = aiohttp.ClientTimeout(total=20, connect=3)
"""A page of 500 large objects from a busy server takes seconds."""
_WATCH_TIMEOUT: Final = aiohttp.ClientTimeout(total=None, connect=3, sock_read=90)
"""Bookmarks come about once a minute; a connection silent for longer is dead."""
_POOL: Final = 0
"""No limit: callers bound themselves (four watches for each namespace, the queue's width, the
lease). With a limit they wait for each other, and the lease must wait for nobody."""


async def connect(kubeconfig: str | None = None) -> KubernetesCluster:
    """Return a client for the pod's service account, or for a kubeconfig file."""
    configuration = Configuration()
    if kubeconfig:
        from kubernetes.aio.config import kube_config  # noqa: PLC0415  # costs memory in a pod

        await kube_config.load_kube_config(kubeconfig, client_configuration=configuration)
    else:
        from kubernetes.aio.config import incluster_config  # noqa: PLC0415  # fails off-cluster

        incluster_config.load_incluster_config(configuration)
    return KubernetesCluster(configuration)


class KubernetesCluster:
    """Implements `port.Cluster`."""

    def __init__(self, configuration: Any) -> None:
        # aiohttp with trust_env reads .netrc in a thread for each request: half the client's CPU.
        configuration.client_session_kwargs = {"trust_env": False}
        configuration.connection_pool_maxsize = _POOL
        configuration.retries = None  # The queue retries; two layers of retries hide each other.
        self.configuration = configuration
        self._client = ApiClient(configuration)
        self._client.user_agent = "mens-operator"

    async def close(self) -> None:
        """Close all connections."""
        await self._client.close()

    async def raw(self, path: str) -> Mapping[str, Any]:
        """GET any path, as discovery or /readyz does."""
        return await self._json("GET", path)

    async def get(self, key: kinds.Key) -> kinds.Object | None:
        """See `port.Cluster`."""
        try:
            return await self._json("GET", key.kind.path(key.namespace, key.name))
        except errors.NotFound:
            return None

    async def list_page(
        self,
        kind: kinds.Kind,
        namespace: str | None,
        *,
        selector: str = "",
        limit: int = 500,
        more: str | None = None,
    ) -> port.Page:
        """See `port.Cluster`."""
        query = {"limit": str(limit)}
        if selector:
            query["labelSelector"] = selector
        if more:
            query["continue"] = more
        body = await self._json("GET", kind.path(namespace), query=query)
        # Items of a list come without apiVersion and kind.
        named = {"apiVersion": kind.api_version, "kind": kind.name}
        items = tuple({**named, **item} for item in body.get("items") or ())
        meta = body["metadata"]
        return port.Page(items, meta["resourceVersion"], meta.get("continue") or None)

    async def watch(
        self,
        kind: kinds.Kind,
        namespace: str | None,
        *,
        resource_version: str,
        selector: str = "",
        seconds: int = 300,
    ) -> AsyncIterator[port.Change]:
        """See `port.Cluster`."""
        query = {
            "watch": "true",
            "allowWatchBookmarks": "true",
            "resourceVersion": resource_version,
            "timeoutSeconds": str(seconds),
        }
        if selector:
            query["labelSelector"] = selector
        response = await self._send("GET", kind.path(namespace), query=query, watching=True)
        try:
            async for line in _lines(response):
                event = json.loads(line)
                if event["type"] == "ERROR":
                    raise _error_of(int(event["object"].get("code", 500)), event["object"], None)
                yield port.Change(event["type"], event["object"])
        finally:
            response.close()

    async def apply(self, obj: kinds.Object) -> kinds.Object:
        """See `port.Cluster`."""
        return await self._apply(obj, None)

    async def apply_status(self, obj: kinds.Object) -> kinds.Object:
        """See `port.Cluster`."""
        return await self._apply(obj, "status")

    async def _apply(self, obj: kinds.Object, sub: str | None) -> kinds.Object:
        key = kinds.key_of(obj)
        return await self._json(
            "PATCH",
            key.kind.path(key.namespace, key.name, sub),
            query={"fieldManager": port.FIELD_MANAGER, "force": "true"},
            body=obj,
            content_type=_APPLY,
        )

    async def create(self, obj: kinds.Object) -> kinds.Object:
        """See `port.Cluster`."""
        path = kinds.of(obj).path(obj["metadata"]["namespace"])
        return await self._json("POST", path, body=obj, query=_managed())

    async def replace(self, obj: kinds.Object) -> kinds.Object:
        """See `port.Cluster`."""
        key = kinds.key_of(obj)
        path = key.kind.path(key.namespace, key.name)
        return await self._json("PUT", path, body=obj, query=_managed())

    async def delete(self, key: kinds.Key, *, uid: str | None = None) -> bool:
        """See `port.Cluster`."""
        options: dict[str, Any] = {"propagationPolicy": "Background"}
        if uid:
            options["preconditions"] = {"uid": uid}
        try:
            await self._json("DELETE", key.kind.path(key.namespace, key.name), body=options)
        except (errors.NotFound, errors.Conflict):
            return False
        return True

    async def _json(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str] | None = None,
        body: kinds.Object | None = None,
        content_type: str = "application/json",
    ) -> dict[str, Any]:
        response = await self._send(method, path, query=query, body=body, content_type=content_type)
        try:
            parsed: dict[str, Any] = json.loads(await response.read())
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
            raise errors.Unavailable(f"{method} {path}: {_said(error)}") from error
        return parsed

    async def _send(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str] | None = None,
        body: kinds.Object | None = None,
        content_type: str = "application/json",
        watching: bool = False,
    ) -> aiohttp.ClientResponse:
        """Send one request; return its open, successful response or raise one of `errors`."""
        target = f"{path}?{urlencode(query)}" if query else path
        method, url, headers, _, _ = await self._client.param_serialize(
            method,
            target,
            header_params={"Content-Type": content_type, "Accept": "application/json"},
            auth_settings=["BearerToken"],
        )
        reading = _WATCH_TIMEOUT if watching else _READ_TIMEOUT
        timeout = reading if method == "GET" else _WRITE_TIMEOUT
        try:
            # The body goes past param_serialize, which would copy it key by key.
            answer = await self._client.call_api(
                method, url, headers, body=body, _request_timeout=timeout
            )
            response: aiohttp.ClientResponse = answer.response
            if response.status < 300:
                return response
            text = await response.read()
        except (TimeoutError, aiohttp.ClientError, OSError) as error:
            raise errors.Unavailable(f"{method} {path}: {_said(error)}") from error
        raise _error_of(response.status, _status_of(text), response.headers.get("Retry-After"))


def _managed() -> Mapping[str, str]:
    return {"fieldManager": port.FIELD_MANAGER}


async def _lines(response: aiohttp.ClientResponse) -> AsyncIterator[bytes]:
    """Yield the lines of a stream; a lost connection is Unavailable, its end is the end."""
    while True:
        try:
            line = await response.content.readline()
        except (TimeoutError, aiohttp.ClientError, OSError, ValueError) as error:
            raise errors.Unavailable(f"watch: {_said(error)}") from error
        if not line.endswith(b"\n"):
            return
        yield line


def _said(error: BaseException) -> str:
    return str(error) or type(error).__name__


def _status_of(text: bytes) -> Mapping[str, Any]:
    try:
        parsed = json.loads(text)
    except ValueError:
        parsed = None
    return parsed if isinstance(parsed, dict) else {"message": text.decode(errors="replace")[:500]}


def _error_of(code: int, status: Mapping[str, Any], retry_after: str | None) -> errors.ClusterError:
    """Convert an answer of the API server into the error that names what to do about it."""
    message = f"{code}: {status.get('message', '')}"
    if code == 404:
        return errors.NotFound(message)
    if code == 409:
        return errors.Conflict(message)
    if code == 410:
        return errors.Gone(message)
    if code in (429, 500, 502, 503, 504) or code == 401:
        # 401: a rotated token; the next call reads it again.
        wait = float(retry_after) if retry_after and retry_after.isdigit() else None
        return errors.Unavailable(message, retry_after=wait)
    return errors.Refused(message)
