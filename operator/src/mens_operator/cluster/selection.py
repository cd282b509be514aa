"""Which objects and changes a list or a watch of the in-memory API server selects."""

from __future__ import annotations

from mens_operator.cluster import kinds, port


def in_namespace(key: kinds.Key, namespace: str | None) -> bool:
    """Return whether a key is in a namespace; None selects all namespaces."""
    return namespace is None or key.namespace == namespace


def matches(selector: str, obj: kinds.Object) -> bool:
    """Return whether the labels of an object match the `name` and `name=value` terms."""
    labels = obj["metadata"].get("labels") or {}
    terms = [term.partition("=") for term in selector.split(",") if term]
    return all(
        name in labels and (not equals or labels[name] == value) for name, equals, value in terms
    )


def changes(
    selector: str, change: port.Change, before: kinds.Object | None
) -> tuple[port.Change, ...]:
    """Return what a watch with a selector delivers for a change.

    An object that starts to match is ADDED. One that no longer matches is DELETED, with the
    resourceVersion of the change.
    """
    fits = matches(selector, change.object)
    if before is None or matches(selector, before) == fits:
        return (change,) if fits else ()
    if fits:
        return (port.Change("ADDED", change.object),)
    version = change.object["metadata"]["resourceVersion"]
    last = {**before, "metadata": {**before["metadata"], "resourceVersion": version}}
    return (port.Change("DELETED", last),)
