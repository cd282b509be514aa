"""The command line: `python -m hack.cluster --help`."""

import argparse
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from hack.cluster import (
    clusters,
    external,
    gobuild,
    image_import,
    lifecycle,
    port_forward,
    preflight,
    prune,
    sandbox,
    toolsets,
)
from hack.support import errors, progress

DESCRIPTION = """\
A real Kubernetes on this machine as root, without Docker and without a registry.

Its programs are built from source once (about ten minutes on two cores), then `up` takes seconds.
If KUBECONFIG is set, that cluster is used instead; MENS_CLUSTER=embedded turns that off, and
MENS_CLUSTER=kind uses the first cluster of kind's. MENS_CACHE (~/.cache/mens) keeps programs and
images, MENS_RUN (/run/mens) one folder per running cluster with its kubeconfig and logs."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command and returns the exit status."""
    options = _parser().parse_args(arguments)
    try:
        status: int = options.run(options)
    except errors.ToolError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    return status


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m hack.cluster",
        description=DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(required=True, metavar="command")
    _add_cluster_commands(commands)
    _add_machine_commands(commands)
    return parser


def _add_machine_commands(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    build = commands.add_parser("build", help="build toolsets into the cache")
    build.add_argument(
        "toolsets", nargs="*", metavar="toolset", help=f"some of: {', '.join(toolsets.TOOLSETS)}"
    )
    build.set_defaults(run=_build)

    check = commands.add_parser("preflight", help="print what this machine lacks, and fix it")
    check.add_argument("tier", nargs="?", default="node", choices=preflight.TIERS)
    check.add_argument("--fix", action="store_true", help="install missing Debian packages")
    check.set_defaults(run=_preflight)

    prune = commands.add_parser("prune", help="delete outdated files from the cache")
    prune.add_argument("--images", action="store_true", help="also the kept container images")
    prune.set_defaults(run=_prune)


def _add_cluster_commands(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    up = _named(commands.add_parser("up", help="start a cluster, or find the running one"))
    up.add_argument("--no-node", action="store_true", help="only the control plane (no pods run)")
    up.add_argument("--kwok", action="store_true", help="fake nodes and pods, for scale")
    up.set_defaults(run=_up)

    down = _named(commands.add_parser("down", help="end a cluster and remove all its files"))
    down.set_defaults(run=_down)

    status = commands.add_parser("status", help="list the clusters")
    status.set_defaults(run=_status)

    shell = _named(commands.add_parser("shell", help="a shell with KUBECONFIG, kubectl and helm"))
    shell.set_defaults(run=_shell)

    execute = _named(commands.add_parser("exec", help="one command with KUBECONFIG set"))
    execute.add_argument("--inside", action="store_true", help="in the sandbox's own networks")
    execute.add_argument("command", nargs=argparse.REMAINDER, metavar="-- command")
    execute.set_defaults(run=_exec)

    load = _named(commands.add_parser("import", help="import image archives into the cluster"))
    load.add_argument("archives", nargs="+", help="OCI archive, OCI folder, or - for a pipe")
    load.set_defaults(run=_import)

    listing = _named(commands.add_parser("images", help="list the images in the cluster"))
    listing.set_defaults(run=_images)

    forward = _named(commands.add_parser("forward", help="reach a service from the host"))
    forward.add_argument("target", help="service.namespace:port or address:port")
    forward.set_defaults(run=_forward)


def _named(parser: argparse.ArgumentParser) -> argparse.ArgumentParser:
    parser.add_argument("--name", default="demo", help="which cluster (default: demo)")
    return parser


def _build(options: argparse.Namespace) -> int:
    tools = gobuild.ensure(options.toolsets or toolsets.NODE)
    for folder in tools.folders.values():
        print(folder)
    return 0


def _up(options: argparse.Namespace) -> int:
    if not options.no_node:
        preflight.require("node")
    else:
        preflight.require("kwok" if options.kwok else "cluster")
    cluster = lifecycle.up(options.name, node=not options.no_node, kwok=options.kwok)
    print(f"export KUBECONFIG={cluster.kubeconfig}")
    return 0


def _down(options: argparse.Namespace) -> int:
    with progress.step(f"end {options.name}"):
        lifecycle.down(options.name)
    return 0


def _status(_: argparse.Namespace) -> int:
    found = [each for each in map(lifecycle.status, clusters.names()) if each is not None]
    for each in found:
        _print_status(each)
    theirs = external.find()
    if theirs is not None:
        where = external.context(theirs)
        print(f"{theirs.name}: your cluster at {where}, KUBECONFIG={theirs.kubeconfig}")
    if not found and theirs is None:
        print("no cluster is running: `make cluster-up` or `python -m hack.cluster up` starts one")
    return 0


def _print_status(found: lifecycle.Status) -> None:
    cluster = found.cluster
    state = "up" if cluster.ready else "half started (up starts it again)"
    state = state if found.alive else "dead (down removes it)"
    print(f"{cluster.name}: {state}, KUBECONFIG={cluster.kubeconfig}, logs {cluster.logs}")
    for component, how in found.components.items():
        print(f"  {component}: {how}")


def _shell(options: argparse.Namespace) -> int:
    return _run_with([os.environ.get("SHELL") or "/bin/bash"], options.name)


def _exec(options: argparse.Namespace) -> int:
    command = options.command[1:] if options.command[:1] == ["--"] else options.command
    if not command:
        raise errors.ToolError("give a command after --")
    if options.inside:
        cluster = _running(options.name)
        if cluster.sandbox is None:
            raise errors.ToolError(f"{cluster.name} has no sandbox")
        command = [*sandbox.enter(cluster.sandbox.pid), *command]
    return _run_with(command, options.name, inside=options.inside)


def _run_with(command: list[str], name: str, *, inside: bool = False) -> int:
    cluster = _running(name)
    environment = cluster.environment()
    if inside:
        environment["KUBECONFIG"] = str(cluster.run / "pki" / "admin.kubeconfig")
    program = shutil.which(command[0], path=environment["PATH"])
    if program is None:
        raise errors.ToolError(f"{command[0]} is not on PATH")
    return subprocess.run([program, *command[1:]], env=environment, check=False).returncode


def _import(options: argparse.Namespace) -> int:
    cluster = _running(options.name)
    for archive in options.archives:
        if archive == "-":
            image_import.import_stream(cluster, sys.stdin.buffer)
            continue
        done = image_import.import_image(cluster, Path(archive))
        if done.skipped:
            progress.say(f"  ✓ {', '.join(done.names)} is already imported")
    return 0


def _images(options: argparse.Namespace) -> int:
    print("\n".join(sorted(image_import.images(_running(options.name)))))
    return 0


def _forward(options: argparse.Namespace) -> int:
    print(f"127.0.0.1:{port_forward.forward(_running(options.name), options.target)}")
    return 0


def _preflight(options: argparse.Namespace) -> int:
    if options.fix:
        preflight.install_packages(options.tier)
    found = preflight.check(options.tier)
    for each in found:
        print(f"{'✓' if each.ok else '✗'} {each.name}: {each.reason}")
        if not each.ok:
            print(f"    fix: {each.fix}")
    return 0 if all(each.ok for each in found) else 1


def _prune(options: argparse.Namespace) -> int:
    for line in prune.prune(images=options.images):
        print(line)
    return 0


def _running(name: str) -> clusters.Cluster:
    cluster = external.find() or clusters.load(name)
    if cluster is None or not cluster.alive():
        raise errors.ToolError(
            f"cluster {name} is not running: `python -m hack.cluster up --name {name}` starts it"
        )
    return cluster
