"""Git sources: pinned to a commit, fetched over file and http, without history or credentials."""

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
from mens.runtime import jobs
from mens_corpus import errors, job
from mens_corpus.readers import git, local, trees
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
    return porcelain.commit(str(path), b"change", author=b"a <a@b>", committer=b"a <a@b>").decode()


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


def content(tree: trees.Tree) -> dict[str, bytes | None]:
    return {entry.path: tree.read(entry) for entry in tree.entries() if not entry.link}


@pytest.mark.parametrize("scheme", ["file", "http"])
@pytest.mark.parametrize("which", ["first", "second", "v1", "topic", "refs/heads/topic", "HEAD"])
def test_a_revision_is_resolved_to_its_commit(
    request: pytest.FixtureRequest, tmp_path: Path, scheme: str, which: str
) -> None:
    """Commit, annotated tag, branch, full name: the commit is recorded."""
    origin: Repository = request.getfixturevalue("served" if scheme == "http" else "repository")
    revision = getattr(origin, which, which)
    old = which in {"first", "v1"}
    with contextlib.closing(git.CommitTree(origin.url, revision, tmp_path / "into")) as tree:
        assert tree.commit == (origin.first if old else origin.second)
        assert content(tree) == (FIRST if old else SECOND)
        assert tree.uri == f"git+{origin.url}@{tree.commit}"


@pytest.mark.parametrize("scheme", ["file", "http"])
@pytest.mark.parametrize("revision", ["missing", "0" * 40, "abc123"])
def test_a_revision_that_does_not_exist_is_a_missing_source(
    request: pytest.FixtureRequest, tmp_path: Path, scheme: str, revision: str
) -> None:
    """SourceNotFound, with the revision in the message."""
    origin: Repository = request.getfixturevalue("served" if scheme == "http" else "repository")
    with pytest.raises(errors.SourceMissing, match=revision) as caught:
        git.CommitTree(origin.url, revision, tmp_path / "into")
    assert caught.value.reason == reasons.SOURCE_NOT_FOUND


def test_a_repository_that_does_not_exist_is_a_missing_source(
    served: Repository, tmp_path: Path
) -> None:
    """Over file and over http."""
    for number, url in enumerate([f"file://{tmp_path}/nothing", served.url + "x"]):
        with pytest.raises(errors.SourceMissing) as caught:
            git.CommitTree(url, "main", tmp_path / f"into{number}")
        assert caught.value.exit_code is jobs.ExitCode.INVALID_INPUT


def test_a_server_that_does_not_answer_is_trouble(tmp_path: Path) -> None:
    """Nobody listens on port 1: the network's fault, tried again soon."""
    with pytest.raises(errors.Trouble) as caught:
        git.CommitTree("http://127.0.0.1:1/x.git", "main", tmp_path / "into")
    assert caught.value.reason == reasons.STORAGE_UNREACHABLE


PAGES = {
    "a web page": b"<!doctype html><html>log in</html>",
    "a reference that is none": b"001e# service=git-upload-pack\n0000000dnonsense\n0000",
}


@pytest.mark.parametrize("page", PAGES.values(), ids=PAGES)
def test_a_server_of_something_else_is_a_missing_source(tmp_path: Path, page: bytes) -> None:
    """A page in the place of a repository is a wrong URL, no defect of ours."""

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
            with pytest.raises(errors.SourceMissing, match=f"{url} is no Git repository") as caught:
                git.CommitTree(url, "main", tmp_path / "into")
        finally:
            web_server.shutdown()
            thread.join()
    assert caught.value.exit_code is jobs.ExitCode.INVALID_INPUT
    assert caught.value.reason == reasons.SOURCE_NOT_FOUND


def test_a_link_leads_to_its_document(repository: Repository, tmp_path: Path) -> None:
    """In the tree to its bytes; out of it, in circles or to nothing it cannot be read."""
    targets = {
        "LICENSE": "b/c.md",
        "b/LICENSE": "../LICENSE",
        "b/out": "../../LICENSE",
        "out": "/etc/passwd",
        "circle": "circle",
        "nothing": "missing.md",
        "folder": "b",
        "through": "folder/c.md",
        "deeper": "deeper/x",
    }
    for name, target in targets.items():
        (repository.path / name).symlink_to(target)
    _commit(repository.path, {"d.py": b"x = 1\n"})
    committed = git.CommitTree(repository.url, "HEAD", tmp_path / "into")
    for tree in (committed, local.FolderTree(repository.path)):
        with contextlib.closing(tree):
            links = {entry.path: entry for entry in tree.entries() if entry.link}
            read = {name for name, entry in links.items() if not entry.refused}
            assert set(links) == {*targets, "link.py"} - {"folder"}
            assert read == {"LICENSE", "b/LICENSE", "link.py", "through"}
            assert tree.read(links["b/LICENSE"]) == b"kept"


@pytest.mark.parametrize("url", ["ssh://host/x", "git://host/x", "http://u:secret@host/x"])
def test_other_schemes_and_credentials_are_refused(url: str, tmp_path: Path) -> None:
    """And the message does not repeat the password."""
    with pytest.raises(errors.InputWrong) as caught:
        git.CommitTree(url, "main", tmp_path / "into")
    assert "secret" not in str(caught.value)


def test_a_job_records_the_commit_that_a_branch_meant(
    repository: Repository, tmp_path: Path
) -> None:
    """The manifest's input names the commit, so that the same corpus can be built again."""
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
    code_, said = job.run(environ, lambda _: objects)
    assert (code_, said.reason) == (jobs.ExitCode.SUCCEEDED, reasons.SUCCEEDED)
    assert said.artifact is not None
    (source,) = manifests.read(objects, said.artifact)[0].inputs
    assert source.uri == f"git+{repository.url}@{commit}"
