"""The cache: older news, graves, complete lists."""

from __future__ import annotations

from typing import Any

from mens_operator.cluster import cache, kinds
from tests.support.cluster_objects import A, B, corpus


def test_older_news_never_overwrite_newer_ones() -> None:
    """Answers and events cross each other; the version decides."""
    heard: list[Any] = []
    known = cache.Cache(lambda key, _obj: heard.append(key))
    assert known.put(corpus("a", 5, x=1))
    assert not known.put(corpus("a", 4, x=0))
    assert not known.put(corpus("a", 5, x=2))
    found = known.get(A)
    assert found is not None
    assert found["spec"] == {"x": 1}
    assert len(heard) == 1


def test_a_change_of_nothing_but_the_version_wakes_nobody() -> None:
    """managedFields and foreign annotations are trimmed away."""
    heard: list[Any] = []
    known = cache.Cache(lambda key, _obj: heard.append(key))
    known.put(corpus("a", 5))
    noisy = corpus("a", 6)
    noisy["metadata"]["annotations"] = {"argocd": "x"}
    noisy["metadata"]["managedFields"] = [{"manager": "x"}]
    known.put(noisy)
    assert len(heard) == 1
    assert "annotations" not in (known.get(A) or {})["metadata"]


def test_what_was_deleted_does_not_come_back() -> None:
    """A late event of a deleted object is ignored; one of a new object with its name is not."""
    known = cache.Cache(lambda _key, _obj: None)
    known.put(corpus("a", 5, uid="old"))
    known.drop(A, uid="old")
    assert not known.put(corpus("a", 9, uid="old"))
    assert known.put(corpus("a", 10, uid="new"))
    known.drop(A, uid="old")
    assert known.get(A) is not None


def test_what_only_left_the_selector_comes_back_with_newer_news() -> None:
    """A watch says DELETED of a relabeled object too: late news are refused, newer ones are not."""
    known = cache.Cache(lambda _key, _obj: None)
    known.put(corpus("a", 5))
    known.drop(A, uid="u", version=8)
    assert not known.put(corpus("a", 7)), "an answer that was on its way"
    assert known.put(corpus("a", 9))
    known.drop(A, uid="u", version=8)
    assert known.get(A) is not None, "older news than what we know"


def test_what_a_list_lacks_comes_back_with_newer_news() -> None:
    """A list with a selector lacks what was relabeled; what comes after the list is true again."""
    known = cache.Cache(lambda _key, _obj: None)
    known.put(corpus("a", 5))
    known.replace(kinds.CORPUS, None, [], "8")
    assert not known.put(corpus("a", 8))
    known.replace(kinds.CORPUS, None, [corpus("a", 9)], "10")
    assert known.get(A) is not None


def test_a_complete_list_removes_ghosts_but_not_what_is_newer_than_it() -> None:
    """kopf never tells what vanished in a gap; our list does."""
    known = cache.Cache(lambda _key, _obj: None)
    known.put(corpus("a", 5, uid="1"))
    known.put(corpus("b", 50, uid="2"))
    assert not known.is_complete([(kinds.CORPUS, None)])
    known.replace(kinds.CORPUS, None, [], "40")
    assert known.is_complete([(kinds.CORPUS, None)])
    assert known.get(A) is None
    assert known.get(B) is not None
