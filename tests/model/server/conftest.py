"""Fixtures of the server's tests."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from mens_server.engines import fake
from tests.model.server import running_server, tiny


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folders: base, other (another base), a and b (adapters of base)."""
    folder = tmp_path_factory.mktemp("models")
    tiny.llama(folder / "base")
    tiny.llama(folder / "other", seed=9)
    for seed, name in enumerate(("a", "b")):
        tiny.adapter(folder / "base", folder / name, seed=20 + seed)
        (folder / name / "NOTICE").write_text(f"notice of {name}")
    return folder


@pytest.fixture
def bucket() -> running_server.Bucket:
    """An empty store."""
    return running_server.Bucket()


@pytest.fixture
def served(
    models: Path, bucket: running_server.Bucket, tmp_path: Path
) -> Iterator[running_server.RunningServer]:
    """A ready server with the fake engine: base, adapters a and b."""
    base = bucket.model("base", models / "base")
    job = running_server.job(
        base,
        a=bucket.adapter("a", models / "a", base),
        b=bucket.adapter("b", models / "b", base),
    )
    runner = fake.FakeRunner(slots=4, max_context=200)
    with running_server.stand(job, bucket, tmp_path, running_server.fake_engine(runner)) as running:
        with running.client() as client:
            running_server.wait_for(client, lambda report: bool(report["ready"]))
        yield running
