"""The Git reader: pinned to a commit, over file and http, without history or credentials."""

from __future__ import annotations

import contextlib
import json
import os
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from http import server as http_server
from pathlib import Path
from wsgiref import simple_server

import pytest
from dulwich import porcelain, repo, server, web

from mens.api import reasons
from mens.artifacts import manifests
from mens.runtime import errors, jobs
from mens_corpus import job
from mens_corpus.readers import base, git, local
from tests.support import memory_store

FIRST, SECOND = {"a.py": b"first", "b/c.md": b"kept"}, {"a.py": b"second", "b/c.md": b"kept"}


@dataclass(frozen=True)
class Repository:
    """A repository with two commits, a tag on the first and a branch on the second."""

    path: Path
    first: str
    second: str
    url: str = ""


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    """On disk, reachable by file://."""
    path = tmp_path / "origin"
    path.mkdir()
    porcelain.init(str(path))
    first = _commit(path, FIRST)
    porcelain.tag_create(str(path), b"v1", author=b"a <a@b>", message=b"one", annotated=True)
    (path / "link.py").symlink_to("a.py")
    second = _commit(path, SECOND)
    porcelain.branch_create(str(path), b"topic")
    return Repository(path, first, second, f"file://{path}")


def _commit(path: Path, files: dict[str, bytes]) -> str:
    for name, data in files.items():
        (path / name).parent.mkdir(exist_ok=True)
        (path / name).write_bytes(data)
    # Neither rglob nor porcelain.add, which go through links to folders.
    found = (Path(top, name) for top, below, files in os.walk(path) for name in (*below, *files))
    inside = (item for item in found if ".git" not in item.parts)
    names = [
        str(item.relative_to(path)) for item in inside if item.is_symlink() or not item.is_dir()
    ]
    with contextlib.closing(repo.Repo(str(path))) as opened:
        opened.get_worktree().stage(names)
    commit: bytes = porcelain.commit(str(path), b"change", author=b"a <a@b>", committer=b"a <a@b>")
    return commit.decode()


@pytest.fixture
def served(repository: Repository) -> Iterator[Repository]:
    """The same over http on the loopback interface."""
    origin = repo.Repo(str(repository.path))
    application = web.make_wsgi_chain(server.DictBackend({"/origin.git": origin}))
    http = simple_server.make_server(
        "127.0.0.1",
        0,
        application,
        handler_class=web.WSGIRequestHandlerLogger,
        server_class=web.WSGIServerLogger,
    )
    thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        url = f"http://127.0.0.1:{http.server_port}/origin.git"
        yield Repository(repository.path, repository.first, repository.second, url)
    finally:
        http.shutdown()
        thread.join()
        http.server_close()
        origin.close()


def content(reader: base.Reader) -> dict[str, bytes | None]:
    return {item.path: reader.read(item) for item in reader.documents() if not item.link}


@pytest.mark.parametrize("scheme", ["file", "http"])
@pytest.mark.parametrize("which", ["first", "second", "v1", "topic", "refs/heads/topic", "HEAD"])
def test_revision_is_resolved_to_its_commit(
    request: pytest.FixtureRequest, tmp_path: Path, scheme: str, which: str
) -> None:
    """A commit, annotated tag, branch or full reference name; the URI contains the commit."""
    origin: Repository = request.getfixturevalue("served" if scheme == "http" else "repository")
    revision = getattr(origin, which, which)
    old = which in {"first", "v1"}
    with contextlib.closing(git.GitReader(origin.url, revision, tmp_path / "into")) as reader:
        assert reader.commit == (origin.first if old else origin.second)
        assert content(reader) == (FIRST if old else SECOND)
        assert reader.uri == f"git+{origin.url}@{reader.commit}"


@pytest.mark.parametrize("scheme", ["file", "http"])
@pytest.mark.parametrize("revision", ["missing", "0" * 40, "abc123"])
def test_missing_revision_is_source_not_found(
    request: pytest.FixtureRequest, tmp_path: Path, scheme: str, revision: str
) -> None:
    """The message contains the revision."""
    origin: Repository = request.getfixturevalue("served" if scheme == "http" else "repository")
    with pytest.raises(base.SourceNotFoundError, match=revision) as caught:
        git.GitReader(origin.url, revision, tmp_path / "into")
    assert caught.value.reason == reasons.SOURCE_NOT_FOUND


def test_missing_repository_is_source_not_found(served: Repository, tmp_path: Path) -> None:
    """Over file and over http."""
    for number, url in enumerate([f"file://{tmp_path}/nothing", served.url + "x"]):
        with pytest.raises(base.SourceNotFoundError) as caught:
            git.GitReader(url, "main", tmp_path / f"into{number}")
        assert caught.value.exit_code is jobs.ExitCode.INVALID_INPUT


def test_unreachable_server_is_a_storage_error(tmp_path: Path) -> None:
    """No process listens on port 1; the job is retried soon."""
    with pytest.raises(errors.StorageError) as caught:
        git.GitReader("http://127.0.0.1:1/x.git", "main", tmp_path / "into")
    assert caught.value.reason == reasons.STORAGE_UNREACHABLE


PAGES = {
    "a web page": b"<!doctype html><html>log in</html>",
    "an invalid reference": b"001e# service=git-upload-pack\n0000000dnonsense\n0000",
}


@pytest.mark.parametrize("page", PAGES.values(), ids=PAGES)
def test_server_without_git_is_source_not_found(tmp_path: Path, page: bytes) -> None:
    """A web page instead of a repository means a wrong URL, not a defect of the program."""

    class Answer(http_server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            git_ = page.startswith(b"0")
            kind = "application/x-git-upload-pack-advertisement" if git_ else "text/html"
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(page)))
            self.end_headers()
            self.wfile.write(page)

        def log_message(self, *_: object) -> None:
            pass

    with http_server.HTTPServer(("127.0.0.1", 0), Answer) as web_server:
        thread = threading.Thread(target=web_server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            url = f"http://127.0.0.1:{web_server.server_port}/x.git"
            with pytest.raises(
                base.SourceNotFoundError, match=f"{url} is not a Git repository"
            ) as caught:
                git.GitReader(url, "main", tmp_path / "into")
        finally:
            web_server.shutdown()
            thread.join()
    assert caught.value.exit_code is jobs.ExitCode.INVALID_INPUT
    assert caught.value.reason == reasons.SOURCE_NOT_FOUND


def test_link_is_resolved_within_the_source(repository: Repository, tmp_path: Path) -> None:
    """A link out of the source, a loop and a broken link are unreadable."""
    targets = {
        "LICENSE": "b/c.md",
        "b/LICENSE": "../LICENSE",
        "b/out": "../../LICENSE",
        "out": "/etc/passwd",
        "loop": "loop",
        "nothing": "missing.md",
        "folder": "b",
        "through": "folder/c.md",
        "deeper": "deeper/x",
    }
    for name, target in targets.items():
        (repository.path / name).symlink_to(target)
    _commit(repository.path, {"d.py": b"x = 1\n"})
    committed = git.GitReader(repository.url, "HEAD", tmp_path / "into")
    for reader in (committed, local.LocalReader(repository.path)):
        with contextlib.closing(reader):
            links = {item.path: item for item in reader.documents() if item.link}
            read = {name for name, item in links.items() if not item.unreadable}
            assert set(links) == {*targets, "link.py"} - {"folder"}
            assert read == {"LICENSE", "b/LICENSE", "link.py", "through"}
            assert reader.read(links["b/LICENSE"]) == b"kept"


@pytest.mark.parametrize("url", ["ssh://host/x", "git://host/x", "http://u:secret@host/x"])
def test_other_schemes_and_credentials_are_rejected(url: str, tmp_path: Path) -> None:
    """The message does not contain the password."""
    with pytest.raises(errors.InvalidInputError) as caught:
        git.GitReader(url, "main", tmp_path / "into")
    assert "secret" not in str(caught.value)


def test_job_records_the_commit_of_a_branch(repository: Repository, tmp_path: Path) -> None:
    """The input in the manifest names the commit, which makes the build reproducible."""
    code = '# SPDX-License-Identifier: Apache-2.0\ndef f():\n    """Do {0}."""\n    return {0}\n'
    commit = _commit(repository.path, {f"m{n}.py": code.format(n).encode() for n in range(3)})
    where = {"url": repository.url, "revision": "HEAD"}
    work = {
        "resource": {"namespace": "n", "name": "demo", "uid": "uid", "generation": 1},
        "spec": {"sources": [{"name": "code", "git": where, "extract": ["PythonFunctions"]}]},
        "output": "s3://bucket/corpora/uid/key",
    }
    objects = memory_store.MemoryStore(["bucket"])
    environ = {jobs.JOB_ENV: json.dumps(work), jobs.SCRATCH_ENV: str(tmp_path)}
    code_, termination = job.run(environ, lambda _: objects)
    assert (code_, termination.reason) == (jobs.ExitCode.SUCCEEDED, reasons.SUCCEEDED)
    assert termination.artifact is not None
    (source,) = manifests.read(objects, termination.artifact)[0].inputs
    assert source.uri == f"git+{repository.url}@{commit}"
