"""Command line: `python -m hack.demo up|down|model`."""

from __future__ import annotations

import argparse
import sys

from hack import cluster
from hack.cluster import external, progress
from hack.demo import kubectl, ownership


def main() -> int:
    """Run the demo, or only make its base model ready."""
    parser = argparse.ArgumentParser(prog="python -m hack.demo", description=__doc__)
    words = {
        "up": "the whole job",
        "down": "end its cluster, or take it off yours",
        "model": "only convert the base model into the cache",
    }
    choices = ", ".join(f"{word}: {says}" for word, says in words.items())
    parser.add_argument("command", choices=list(words), help=choices)
    command = parser.parse_args().command
    if command == "model":
        from hack.demo import model  # noqa: PLC0415  # imports torch, which `up` may not need

        sys.stdout.write(f"{model.folder()}\n")
        return 0
    if command == "down":
        return _down()
    from hack.demo import job  # noqa: PLC0415  # needs the environment, --help does not

    try:
        job.run()
    except (kubectl.DemoError, cluster.ClusterError) as error:
        sys.stderr.write(f"\nthe demo failed: {error}\n")
        sys.stderr.write("The cluster stays up: `make cluster-shell`, then\n")
        sys.stderr.write("`kubectl get mens,pods,events -A`. `make demo-down` ends it.\n")
        return 1
    return 0


def _down() -> int:
    try:
        theirs = external.find()
        if theirs is not None:
            ownership.remove(kubectl.Kubectl(theirs.kubeconfig, theirs.kubectl, theirs.helm))
        with progress.step(f"end {ownership.NAMESPACE}"):
            cluster.down(ownership.NAMESPACE)
    except (kubectl.DemoError, cluster.ClusterError) as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
