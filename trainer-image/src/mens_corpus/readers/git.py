"""Documents of a Git commit, fetched without history and without a git program.

A branch or tag is resolved once; the commit it meant goes into the manifest.
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
from mens_corpus import errors
from mens_corpus.readers import trees

TIMEOUT: Final = 60.0
"""Seconds to wait for the next bytes of a Git server."""

_NO_GIT: Final = (
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
"""What dulwich raises on bytes that do not follow the protocol, such as a page to log in."""
_FETCHED: Final = b"refs/mens/source"
_COMMIT: Final = re.compile(r"[0-9a-f]{40}")
_LINKS: Final = 40
"""Links that are followed in a row; Linux itself gives up there."""


class CommitTree:
    """All regular files and links of one commit; submodules are left out.

    Args:
        url: http(s) or file, without credentials.
        revision: A commit (40 hex digits), tag, branch or full reference name.
        into: Empty or missing folder for the fetched objects.
    """

    def __init__(self, url: str, revision: str, into: Path) -> None:
        self._url = url
        into.mkdir(parents=True, exist_ok=True)
        self._repository: Any = repo.Repo.init_bare(str(into))
        # One pack file is shared by all readers, and its file position with it.
        self._lock = threading.Lock()
        try:
            self._commit = _fetched(self._repository, url, revision)
        except BaseException:
            self.close()
            raise

    @property
    def commit(self) -> str:
        """The commit that the revision meant, 40 hex digits."""
        return str(self._commit.id.decode())

    @property
    def uri(self) -> str:
        """See `trees.Tree`."""
        return f"git+{shown(self._url)}@{self.commit}"

    def entries(self) -> Iterator[trees.Entry]:
        """See `trees.Tree`."""
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
        yield from (trees.Entry(path, -1, sha) for path, sha in files.items())
        for path in links:
            end = _followed(path, links)
            if end not in folders:
                refused = "" if end in files else trees.LOST_LINK
                yield trees.Entry(path, -1, files.get(end, ""), link=True, refused=refused)

    def read(self, entry: trees.Entry) -> bytes | None:
        """See `trees.Tree`."""
        data = self._bytes(entry.key)
        return data if len(data) <= trees.DOCUMENT_LIMIT else None

    def _bytes(self, sha: str) -> bytes:
        with self._lock:
            return bytes(self._repository.object_store[sha.encode()].data)

    def _target(self, path: str, sha: str) -> str:
        """Return the path that a link names, from the root of the tree."""
        folder = posixpath.dirname(path)
        return posixpath.normpath(posixpath.join(folder, _text(self._bytes(sha))))

    def close(self) -> None:
        """See `trees.Tree`."""
        self._repository.close()


def shown(url: str) -> str:
    """Return the URL as it may be logged: no user, no password, no query."""
    parts = urllib.parse.urlsplit(url)
    host = parts.netloc.rpartition("@")[2]
    return urllib.parse.urlunsplit((parts.scheme, host, parts.path, "", ""))


def _text(name: bytes) -> str:
    return name.decode(errors="backslashreplace")


def _followed(path: str, links: Mapping[str, str]) -> str:
    """Return where a path leads when it and the folders above it may be links.

    In a circle it is a path through one of its links.
    """
    for _ in range(_LINKS):
        above = [str(folder) for folder in PurePosixPath(path).parents]
        link = next((each for each in (*reversed(above), path) if each in links), None)
        if link is None:
            return path
        path = posixpath.normpath(posixpath.join(links[link], posixpath.relpath(path, link)))
    return path


def _fetched(repository: Any, url: str, revision: str) -> Any:
    """Fetch one revision and return its commit; the errors of Git and network become ours."""
    transport, path = _transport(url)
    try:
        try:
            wants = _wants(repository, url, revision)
            transport.fetch(path, repository, determine_wants=wants, depth=1)
        except (git_errors.GitProtocolError, git_errors.MissingCommitError, KeyError):
            if not _COMMIT.fullmatch(revision):
                raise
            # Not every server gives out a commit that no reference names; the history has it.
            transport.fetch(path, repository)
    except (client.HTTPUnauthorized, git_errors.NotGitRepository) as e:
        raise _absent(url) from e
    except (urllib3.exceptions.HTTPError, git_errors.GitProtocolError, OSError) as e:
        raise errors.Trouble(
            reasons.STORAGE_UNREACHABLE,
            f"{shown(url)} does not answer as a Git server ({type(e).__name__}); check the host "
            "and the network policy; it is tried again",
        ) from e
    except _NO_GIT as e:
        raise _absent(url) from e
    return _resolved(repository, url, revision)


def _wants(repository: Any, url: str, revision: str) -> Callable[..., list[bytes]]:
    """Return what tells the transport which object to fetch, once it knows the references."""

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
        raise errors.InputWrong(
            reasons.SOURCE_INVALID,
            f"{shown(url)} is not an http(s) URL without credentials; correct git.url",
        )
    base = urllib.parse.urlunsplit((parts.scheme, parts.netloc, "", "", ""))
    # An empty configuration: no credential helper and no URL rewriting of whoever runs this.
    return client.HttpGitClient(base, config=config.ConfigFile(), timeout=TIMEOUT), parts.path


def _reference(refs: Mapping[bytes, bytes], revision: str) -> bytes | None:
    """Return the reference that git itself would choose: tags before branches."""
    name = revision.encode()
    candidates = (name, b"refs/" + name, b"refs/tags/" + name, b"refs/heads/" + name)
    return next((candidate for candidate in candidates if candidate in refs), None)


def _resolved(repository: Any, url: str, revision: str) -> Any:
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


def _not_found(url: str, revision: str) -> errors.SourceMissing:
    return errors.SourceMissing(
        reasons.SOURCE_NOT_FOUND,
        f"{shown(url)} has no commit, tag or branch {revision!r}; correct git.revision (a commit "
        "needs all its 40 digits)",
    )


def _absent(url: str) -> errors.SourceMissing:
    return errors.SourceMissing(
        reasons.SOURCE_NOT_FOUND,
        f"{shown(url)} is no Git repository that can be read without credentials; correct git.url",
    )
