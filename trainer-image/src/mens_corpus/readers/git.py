"""Read documents of a Git commit, fetched without history and without a git program.

A branch or tag is resolved once; the manifest records the commit.
"""

from __future__ import annotations

import posixpath
import re
import stat
import struct
import threading
import urllib.parse
import zlib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import Any, Final

import urllib3.exceptions
from dulwich import client, config, object_store, objects, repo
from dulwich import errors as git_errors

from mens.api import reasons
from mens.runtime import errors
from mens_corpus.readers import base

TIMEOUT: Final = 60.0
"""Maximum seconds to wait for the next bytes of a Git server."""

_PROTOCOL_ERRORS: Final = (
    ValueError,
    AssertionError,
    KeyError,
    struct.error,
    zlib.error,
    git_errors.FileFormatException,
    git_errors.ChecksumMismatch,
    git_errors.ApplyDeltaError,
    git_errors.MissingCommitError,
)
"""Errors of dulwich for bytes that do not follow the protocol, such as a login page."""
_FETCHED: Final = b"refs/mens/source"
_COMMIT: Final = re.compile(r"[0-9a-f]{40}")
_MAX_LINKS: Final = 40
"""Maximum links to follow for one path, as in Linux."""


class GitReader:
    """All regular files and links of one commit; submodules are skipped.

    Args:
        url: http(s) or file, without credentials.
        revision: A commit (40 hex digits), tag, branch or full reference name.
        into: Empty or missing folder for the fetched objects.
    """

    def __init__(self, url: str, revision: str, into: Path) -> None:
        self._url = url
        into.mkdir(parents=True, exist_ok=True)
        self._repository: Any = repo.Repo.init_bare(str(into))
        # All threads share one pack file and its file position.
        self._lock = threading.Lock()
        try:
            self._commit = _fetch(self._repository, url, revision)
        except BaseException:
            self.close()
            raise

    @property
    def commit(self) -> str:
        """The commit that the revision names, 40 hex digits."""
        return str(self._commit.id.decode())

    @property
    def uri(self) -> str:
        """See `base.Reader`."""
        return f"git+{redact(self._url)}@{self.commit}"

    def documents(self) -> Iterator[base.Document]:
        """See `base.Reader`."""
        store = self._repository.object_store
        found = {
            _text(item.path): (item.mode, item.sha.decode())
            for item in object_store.iter_tree_contents(store, self._commit.tree)
        }
        links = {
            path: self._target(path, sha)
            for path, (mode, sha) in found.items()
            if stat.S_ISLNK(mode)
        }
        files = {path: sha for path, (mode, sha) in found.items() if stat.S_ISREG(mode)}
        folders = {str(folder) for path in found for folder in PurePosixPath(path).parents}
        yield from (base.Document(path, -1, sha) for path, sha in files.items())
        for path in links:
            end = _resolve_links(path, links)
            if end not in folders:
                unreadable = "" if end in files else base.BROKEN_LINK
                yield base.Document(path, -1, files.get(end, ""), link=True, unreadable=unreadable)

    def read(self, entry: base.Document) -> bytes | None:
        """See `base.Reader`."""
        data = self._bytes(entry.key)
        return data if len(data) <= base.DOCUMENT_LIMIT else None

    def _bytes(self, sha: str) -> bytes:
        with self._lock:
            return bytes(self._repository.object_store[sha.encode()].data)

    def _target(self, path: str, sha: str) -> str:
        """Return the path that a link names, from the root of the tree."""
        folder = posixpath.dirname(path)
        return posixpath.normpath(posixpath.join(folder, _text(self._bytes(sha))))

    def close(self) -> None:
        """See `base.Reader`."""
        self._repository.close()


def redact(url: str) -> str:
    """Return the URL for logs and messages: without user, password and query."""
    parts = urllib.parse.urlsplit(url)
    host = parts.netloc.rpartition("@")[2]
    return urllib.parse.urlunsplit((parts.scheme, host, parts.path, "", ""))


def _text(name: bytes) -> str:
    return name.decode(errors="backslashreplace")


def _resolve_links(path: str, links: Mapping[str, str]) -> str:
    """Return the target of a path; the path and its parent folders may be links.

    For a loop, the result is a path through one of its links.
    """
    for _ in range(_MAX_LINKS):
        above = [str(folder) for folder in PurePosixPath(path).parents]
        link = next((each for each in (*reversed(above), path) if each in links), None)
        if link is None:
            return path
        path = posixpath.normpath(posixpath.join(links[link], posixpath.relpath(path, link)))
    return path


def _fetch(repository: Any, url: str, revision: str) -> Any:
    """Fetch one revision and return its commit; converts errors of Git and the network."""
    transport, path = _transport(url)
    try:
        try:
            wants = _wants(repository, url, revision)
            transport.fetch(path, repository, determine_wants=wants, depth=1)
        except (git_errors.GitProtocolError, git_errors.MissingCommitError, KeyError):
            if not _COMMIT.fullmatch(revision):
                raise
            # Not every server provides a commit without a reference; fetch the whole history.
            transport.fetch(path, repository)
    except (client.HTTPUnauthorized, git_errors.NotGitRepository) as e:
        raise _not_a_repository(url) from e
    except (urllib3.exceptions.HTTPError, git_errors.GitProtocolError, OSError) as e:
        raise errors.StorageError(
            reasons.STORAGE_UNREACHABLE,
            f"{redact(url)} does not respond as a Git server ({type(e).__name__}); check the host "
            "and the network policy; the job is retried",
        ) from e
    except _PROTOCOL_ERRORS as e:
        raise _not_a_repository(url) from e
    return _resolve_commit(repository, url, revision)


def _wants(repository: Any, url: str, revision: str) -> Callable[..., list[bytes]]:
    """Return a callback that selects the object to fetch from the server's references."""

    def wants(refs: Mapping[bytes, bytes], depth: int | None = None) -> list[bytes]:
        del depth
        if _COMMIT.fullmatch(revision):
            return [revision.encode()]
        name = _reference(refs, revision)
        if name is None:
            raise _not_found(url, revision)
        repository.refs[_FETCHED] = refs[name]
        return [refs[name]]

    return wants


def _transport(url: str) -> tuple[Any, str]:
    parts = urllib.parse.urlsplit(url)
    if parts.scheme == "file":
        return client.LocalGitClient(config=config.ConfigFile()), urllib.parse.unquote(parts.path)
    if parts.scheme not in {"http", "https"} or not parts.hostname or "@" in parts.netloc:
        raise errors.InvalidInputError(
            reasons.SOURCE_INVALID,
            f"{redact(url)} is not an http(s) URL without credentials; correct git.url",
        )
    base = urllib.parse.urlunsplit((parts.scheme, parts.netloc, "", "", ""))
    # An empty configuration: the credential helpers and URL rewriting of the user do not apply.
    return client.HttpGitClient(base, config=config.ConfigFile(), timeout=TIMEOUT), parts.path


def _reference(refs: Mapping[bytes, bytes], revision: str) -> bytes | None:
    """Return the reference that git would choose: tags before branches."""
    name = revision.encode()
    candidates = (name, b"refs/" + name, b"refs/tags/" + name, b"refs/heads/" + name)
    return next((candidate for candidate in candidates if candidate in refs), None)


def _resolve_commit(repository: Any, url: str, revision: str) -> Any:
    name = revision.encode()
    try:
        if not _COMMIT.fullmatch(revision):
            name = repository.refs[_FETCHED]
        found = repository.object_store[name]
        while isinstance(found, objects.Tag):
            found = repository.object_store[found.object[1]]
    except KeyError:
        raise _not_found(url, revision) from None
    if not isinstance(found, objects.Commit):
        raise _not_found(url, revision)
    return found


def _not_found(url: str, revision: str) -> base.SourceNotFoundError:
    return base.SourceNotFoundError(
        reasons.SOURCE_NOT_FOUND,
        f"{redact(url)} has no commit, tag or branch {revision!r}; correct git.revision (a commit "
        "must have all 40 digits)",
    )


def _not_a_repository(url: str) -> base.SourceNotFoundError:
    return base.SourceNotFoundError(
        reasons.SOURCE_NOT_FOUND,
        f"{redact(url)} is not a Git repository, or it requires credentials; correct git.url",
    )
