"""The command line: build, keys, prune, preflight."""

import argparse
import dataclasses
import json
import sys

from hack.cluster import clusters, external, prune
from hack.images import base, buildah, catalog, keys, plans, preflight, sync, targets
from hack.support import errors


def main(arguments: list[str] | None = None) -> int:
    """Runs one command; returns the exit status."""
    options = _parser().parse_args(arguments)
    try:
        status: int = options.run(options)
    except (errors.ToolError, KeyError) as error:
        print(f"error: {error.args[0] if error.args else error}", file=sys.stderr)
        return 1
    return status


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m hack.images", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    build = commands.add_parser(
        "build", help="build missing images and import them into running clusters"
    )
    build.add_argument("names", nargs="*", help="images (default: all)")
    build.add_argument("--cluster", help="cluster to import into (default: every running one)")
    build.add_argument("--json", action="store_true", help="print the result as JSON on stdout")
    build.set_defaults(run=_build)
    shown = commands.add_parser("keys", help="print the image references of this checkout")
    shown.set_defaults(run=_keys)
    prune = commands.add_parser("prune", help="remove images of other sources")
    prune.add_argument("--all", action="store_true", help="remove all images, including the base")
    prune.set_defaults(run=_prune)
    looked = commands.add_parser("preflight", help="print what this machine lacks")
    looked.add_argument("--json", action="store_true")
    looked.set_defaults(run=_preflight)
    return parser


def _build(options: argparse.Namespace) -> int:
    names = options.names or None
    where: list[clusters.Cluster | None] = [*_clusters(options.cluster)]
    results = [sync.run(cluster, names) for cluster in where or [None]]
    if options.json:
        print(json.dumps([dataclasses.asdict(result) for result in results]))
    else:
        for name, reference in results[0].references.items():
            print(f"{name:15} {reference}")
    return 0


def _clusters(name: str | None) -> list[clusters.Cluster]:
    if name is not None:
        cluster = clusters.load(name)
        if cluster is None or not cluster.alive():
            raise errors.ToolError(f"cluster {name} is not up: python -m hack.cluster up")
        return [cluster]
    theirs = external.find()
    if theirs is not None:
        return [theirs]
    return _embedded()


def _embedded() -> list[clusters.Cluster]:
    """The embedded clusters that run pods, without those of tests: these come and go."""
    names = [name for name in clusters.names() if clusters.test_process(name) is None]
    found = [clusters.load(name) for name in names]
    return [one for one in found if one is not None and one.alive() and one.node]


def _keys(_: argparse.Namespace) -> int:
    print(f"{base.NAME:15} {base.reference()}")
    for image in catalog.IMAGES:
        print(f"{image.name:15} {keys.reference(image)}")
    return 0


def _prune(options: argparse.Namespace) -> int:
    with buildah.opened() as store:
        gone = plans.stale(store.references(), [] if options.all else _current())
        store.remove(gone)
        store.remove_unnamed()
        for cluster in _embedded():
            target = targets.target_for(cluster)
            assert isinstance(target, targets.Embedded)
            runtime = target.runtime
            there = plans.stale(runtime.references(), {*_current(), *runtime.used()})
            runtime.remove(there)
            gone += there
    for reference in sorted(set(gone)):
        print(f"removed {reference}")
    # Its layers are links to the same bytes, which use space until both links are deleted. Only a
    # running containerd knows which are outdated; linking them again takes seconds.
    if prune.forget_images():
        print("removed the images that are kept for the next cluster; it links them again")
    return 0


def _current() -> list[str]:
    found = [base.reference()]
    for image in catalog.IMAGES:
        found += [keys.reference(image), catalog.latest(image)]
    return found


def _preflight(options: argparse.Namespace) -> int:
    with buildah.opened() as store:
        heavy = keys.reference(catalog.ML) not in store.references()
    found = preflight.check(heavy=heavy)
    if options.json:
        print(json.dumps([dataclasses.asdict(one) for one in found]))
    else:
        for one in found:
            print(f"{'ok  ' if one.ok else 'LACK'} {one.name}: {one.reason} {one.fix}".rstrip())
    return 0 if all(one.ok for one in found) else 1


if __name__ == "__main__":
    sys.exit(main())
