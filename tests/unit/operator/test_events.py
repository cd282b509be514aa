"""Events: what is told, what is dropped, and that a warning is not."""

from __future__ import annotations

from typing import Any

from mens_operator import events
from mens_operator.cluster import in_memory, kinds, lease
from mens_operator.plans import outcomes
from tests.support import simulation
from tests.support.cluster_objects import ManualClock, corpus
from tests.support.simulation import Simulation


def recorder(cluster: in_memory.InMemoryApiServer, time: ManualClock) -> events.EventRecorder:
    fenced = lease.Fenced(cluster, lambda: None)
    return events.EventRecorder(fenced, "test", clock=time, now=simulation.Clock().now)


def told(cluster: in_memory.InMemoryApiServer) -> list[tuple[str, str]]:
    """Name and note of every event."""
    events: list[dict[str, Any]] = cluster.objects(kinds.EVENT)
    return [(event["regarding"]["name"], event["note"]) for event in events]


async def test_many_normal_events_are_dropped_and_no_warning_is() -> None:
    """A mass start takes the burst of normal events; each failure is told all the same."""
    cluster, time = in_memory.InMemoryApiServer(), ManualClock()
    tested = recorder(cluster, time)
    for number in range(50):
        about = corpus(f"c{number}", 1, uid=f"u{number}")
        await tested.record(about, outcomes.Event(False, "Started", "It runs."))
    assert len(told(cluster)) == 20
    for number in range(50):
        about = corpus(f"c{number}", 1, uid=f"u{number}")
        await tested.record(about, outcomes.Event(True, "Failed", "It failed."))
    assert {name for name, note in told(cluster) if note == "It failed."} == {
        f"c{number}" for number in range(50)
    }


async def test_one_resource_with_many_warnings_is_limited() -> None:
    """A text that varies does not fill the namespace: ten, then one a minute."""
    cluster, time = in_memory.InMemoryApiServer(), ManualClock()
    tested = recorder(cluster, time)
    for number in range(100):
        text = f"Refused: request {number}."
        await tested.record(corpus("a", 1), outcomes.Event(True, "Refused", text))
    assert len(told(cluster)) == 10
    time.now = 60.0
    await tested.record(corpus("a", 1), outcomes.Event(True, "Refused", "Again."))
    await tested.record(corpus("a", 1), outcomes.Event(True, "Refused", "And again."))
    assert len(told(cluster)) == 11


async def test_each_of_many_broken_runs_gets_its_warning(sim: Simulation) -> None:
    """Forty runs without their base model: each has an event that says so."""
    for number in range(40):
        sim.apply(simulation.TRAINRUN.replace("name: tune}", f"name: t{number}}}"))
    await sim.settle()
    warned = {
        event["regarding"]["name"]
        for event in sim.cluster.objects(kinds.EVENT)
        if event["type"] == "Warning"
    }
    assert warned == {f"t{number}" for number in range(40)}
