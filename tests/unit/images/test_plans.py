"""What is to be done follows from what is there."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hack.cluster import clusters
from hack.images import __main__ as command
from hack.images import catalog, plans

BASE = "localhost/mens-base:b"
REFERENCES = {image.name: f"localhost/{image.name}:k" for image in catalog.IMAGES}
ALL = set(REFERENCES.values()) | {BASE}
RUNNING = [image for image in catalog.IMAGES if image.runs]

some = st.sets(st.sampled_from(sorted(ALL)))


def plan(stored: set[str], present: set[str] | None) -> plans.Plan:
    return plans.plan(RUNNING, REFERENCES, BASE, stored, present)


def test_nothing_there_means_everything_in_order() -> None:
    """From nothing: the base, the heavy layer, then the rest; all that runs is brought."""
    found = plan(set(), set())
    assert found.base
    assert found.heavy
    assert next(image.name for image in found.build) == "mens-ml"
    assert set(found.build) == set(catalog.IMAGES)
    assert list(found.bring) == RUNNING


def test_an_image_in_the_cluster_is_left_alone() -> None:
    """What the cluster has is neither built nor brought, even if the store was emptied."""
    assert plan(set(), ALL).idle
    found = plan(set(), ALL - {REFERENCES["mens-operator"]})
    assert [image.name for image in found.build] == ["mens-operator"]
    assert [image.name for image in found.bring] == ["mens-operator"]


def test_code_changes_do_not_rebuild_the_heavy_layer() -> None:
    """With the heavy layer in the store, a new trainer is a matter of megabytes."""
    found = plan({BASE, REFERENCES["mens-ml"]}, set())
    assert not found.heavy
    assert not found.base


def test_the_last_build_is_not_an_older_image() -> None:
    """A first build has only itself and the name that it was built under."""
    [ml] = [image for image in catalog.IMAGES if not image.runs]
    now, last = REFERENCES[ml.name], catalog.latest(ml)
    assert plans.older(ml, {now, last, "localhost/mens-trainer:0"}, now) == []
    assert plans.older(ml, {now, last, "localhost/mens-ml:0"}, now) == ["localhost/mens-ml:0"]


def test_without_a_cluster_nothing_is_brought() -> None:
    """Building alone works."""
    found = plan({BASE}, None)
    assert not found.bring
    assert set(found.build) == set(catalog.IMAGES)


@given(stored=some, present=st.none() | some)
def test_a_done_plan_is_idle(stored: set[str], present: set[str] | None) -> None:
    """Doing what a plan says leaves nothing to do, and everything built has what it stands on."""
    found = plan(stored, present)
    there = stored | ({BASE} if found.base else set())
    for image in found.build:
        assert BASE in there
        assert image.above is None or REFERENCES[image.above] in there
        there |= {REFERENCES[image.name]}
    assert all(REFERENCES[image.name] in there for image in found.bring)
    brought = {REFERENCES[image.name] for image in found.bring}
    assert plan(there, None if present is None else present | brought).idle


def test_stale_images_are_ours_and_old() -> None:
    """Only our own images of other content are stale."""
    there = ["localhost/mens-ml:old", "localhost/mens-ml:new", "localhost/mens/pause:1", "other:1"]
    assert plans.stale(there, ["localhost/mens-ml:new"]) == ["localhost/mens-ml:old"]


def test_images_are_not_imported_into_clusters_of_tests(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A test run imports what it needs itself, and ends its cluster at any moment."""
    monkeypatch.setenv("MENS_RUN", str(tmp_path))
    monkeypatch.setattr(clusters.Cluster, "alive", lambda _: True)
    for name in ("demo", "test-123-node"):
        run = tmp_path / name
        run.mkdir()
        program = Path("/bin/true")
        kind = clusters.Kind.EMBEDDED
        clusters.save(
            clusters.Cluster(
                name, kind, run / "config", program, program, run, node=True, kwok=False
            )
        )
    assert [cluster.name for cluster in command._embedded()] == ["demo"]
