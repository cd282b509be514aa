"""Builds and imports the images that the checkout describes and that are missing."""

import contextlib
import dataclasses
import os
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from hack.cluster import clusters
from hack.cluster.preflight import Capability
from hack.images import base, buildah, catalog, keys, plans, preflight, targets
from hack.support import commands, durations, errors, paths, progress, space

DURATIONS = durations.Durations("images", minimum=0)
"""Seconds of each step the last time it had work to do."""


@dataclasses.dataclass(frozen=True)
class Result:
    """What was done."""

    references: dict[str, str]
    """Image name -> reference."""

    built: tuple[str, ...]
    brought: tuple[str, ...]

    seconds: dict[str, float]
    """Step -> seconds, for each step that ran."""


def ensure(
    cluster: clusters.Cluster | None = None, names: Iterable[str] | None = None
) -> dict[str, str]:
    """Builds the images of the current sources, and imports them into a cluster if one is given.

    Args:
        cluster: Where they will run; None to build only.
        names: Images, with or without `mens-`; all when None.

    Returns:
        Image name -> reference, for what a cluster runs.

    Raises:
        ToolError: The machine lacks something, a build failed, or the cluster is not ours and
            the images are not pushed yet; the message names the fix.
    """
    return run(cluster, names).references


def run(cluster: clusters.Cluster | None = None, names: Iterable[str] | None = None) -> Result:
    """Does what `ensure` does; returns what was done and its durations."""
    wanted = catalog.IMAGES if names is None else tuple(catalog.named(one) for one in names)
    if names is None and cluster is not None:
        wanted = tuple(image for image in wanted if image.runs)
    with buildah.opened() as store:
        done = _Run(store, targets.target_for(cluster), wanted).run()
        if cluster is None or cluster.kind is not clusters.Kind.EXTERNAL:
            return done
        registry = os.environ.get(targets.REGISTRY_VARIABLE)
        found = targets.for_foreign(store, done.references, registry)
        return dataclasses.replace(done, references=found)


def lacking() -> list[Capability]:
    """Returns what this machine lacks to build missing images; empty when no image is missing."""
    with buildah.opened() as store:
        plan = _Run(store, None, catalog.IMAGES).plan
    if not plan.build:
        return []
    return [one for one in preflight.check(heavy=plan.heavy) if not one.ok]


def room() -> list[space.Need]:
    """Returns the disk space that missing images need; empty when no image is missing."""
    with buildah.opened() as store:
        plan = _Run(store, None, catalog.IMAGES).plan
    return preflight.room(heavy=plan.heavy) if plan.build else []


class _Run:
    def __init__(
        self,
        store: buildah.Store,
        target: targets.Target | None,
        wanted: tuple[catalog.Image, ...],
    ) -> None:
        self.store = store
        self.target = target
        self.references = {image.name: keys.reference(image) for image in catalog.IMAGES}
        present = target.references() if target else None
        self.plan = plans.plan(
            wanted, self.references, base.reference(), store.references(), present
        )
        self.wanted = wanted
        self.seconds: dict[str, float] = {}
        self.waiting: list[str] = []

    def run(self) -> Result:
        if not self.plan.idle:
            self._check()
            self._announce()
        if self.plan.base:
            with self._step("base", base.SECONDS, _log(base.NAME)):
                base.build(self.store, _log(base.NAME))
        for image in self.plan.build:
            with self._step(image.name, image.seconds, _log(image.name)):
                self._build(image)
        for image in self.plan.bring:
            with self._step(f"import {image.name}", 1.0, _log(image.name)):
                assert self.target is not None
                self.target.bring(self.store, self.references[image.name], _log(image.name))
        self._hint()
        return Result(
            {image.name: self.references[image.name] for image in self.wanted},
            tuple(image.name for image in self.plan.build),
            tuple(image.name for image in self.plan.bring),
            self.seconds,
        )

    def _hint(self) -> None:
        current = self.references[catalog.ML.name]
        if self.plan.heavy and plans.older(catalog.ML, self.store.references(), current):
            progress.say("  an older mens-ml takes 5 GB: python -m hack.images prune")

    def _build(self, image: catalog.Image) -> None:
        for _ in range(3):
            reference = self.references[image.name]
            self.store.build(
                catalog.latest(image),
                paths.REPOSITORY / image.dockerfile,
                paths.REPOSITORY,
                _log(image.name),
                target=image.target,
                arguments={"BASE_IMAGE": base.reference()},
            )
            self.references[image.name] = keys.reference(image)
            if self.references[image.name] == reference:
                self.store.tag(catalog.latest(image), reference)
                return
            # The sources changed meanwhile: the image may have any mix of them.
        raise errors.ToolError(
            f"the sources of {image.name} changed during three builds in a row; run it again"
        )

    def _check(self) -> None:
        if not self.plan.build:
            return
        lacking = [one for one in preflight.check(heavy=self.plan.heavy) if not one.ok]
        if lacking:
            lines = [f"  {one.name}: {one.reason} -> {one.fix}" for one in lacking]
            raise errors.ToolError("\n".join(["this machine cannot build the images:", *lines]))

    def _announce(self) -> None:
        steps = [("base", base.SECONDS)] if self.plan.base else []
        steps += [(image.name, image.seconds) for image in self.plan.build]
        steps += [(f"import {image.name}", 1.0) for image in self.plan.bring]
        self.waiting = [name for name, _ in steps]
        about = sum((DURATIONS.last(name) or seconds) for name, seconds in steps)
        progress.say(
            f"Images: {len(self.plan.build)} to build, {len(self.plan.bring)} to import, "
            f"about {progress.minutes(about)}."
        )
        if self.plan.heavy:
            progress.say("  (mens-ml, the layer with torch, is built once per requirements/ml.txt)")

    @contextlib.contextmanager
    def _step(self, name: str, guess: float, log: Path) -> Iterator[None]:
        if name in self.waiting:
            self.waiting.remove(name)
        with progress.live(self._describe(name, guess, log)):
            begun = time.monotonic()
            yield
            took = time.monotonic() - begun
        before = DURATIONS.last(name)
        last = "" if before is None else f", last time {before:.1f} s"
        progress.say(f"  ✓ {name} ({took:.1f} s{last})")
        self.seconds[name] = round(took, 1)
        DURATIONS.remember(name, took)

    def _describe(self, name: str, guess: float, log: Path) -> Callable[[], str]:
        begun = time.monotonic()
        about = progress.minutes(DURATIONS.last(name) or guess)
        then = f"; then {', '.join(self.waiting)}" if self.waiting else ""

        def describe() -> str:
            passed = progress.minutes(time.monotonic() - begun)
            step = commands.tail(log, 1).strip()[:60]
            return f"{name}: {passed} of ~{about} ({step}){then}"

        return describe


def _log(name: str) -> Path:
    return paths.cache() / "logs" / f"image-{name}.log"
