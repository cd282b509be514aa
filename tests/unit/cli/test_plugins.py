"""Facts about sub-commands that other packages bring."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest

from mens.cli import main


@dataclass(frozen=True)
class Entry:
    """What stands in a package's metadata."""

    name: str
    load: Callable[[], Callable[[Any], None]]
    value: str = "elsewhere.command:register"


def register(commands: Any) -> None:
    parser = commands.add_parser("greet", help="say hello")
    parser.set_defaults(run=lambda args: 7)


def missing() -> Callable[[Any], None]:
    raise ImportError("No module named 'torch'")


def register_twice(commands: Any) -> None:
    commands.add_parser("model")


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> list[Entry]:
    entries: list[Entry] = []
    monkeypatch.setattr("mens.cli.main.metadata.entry_points", lambda group: entries)
    return entries


def test_a_command_of_another_package(installed: list[Entry]) -> None:
    """A registered function adds a command, and its exit code is the program's."""
    installed.append(Entry("greet", lambda: register))
    assert main.main(["greet"], environ={}) == 7


def test_an_extra_that_is_not_installed(
    installed: list[Entry], capsys: pytest.CaptureFixture[str]
) -> None:
    """A command whose package cannot be imported is not there; the others are."""
    installed.extend([Entry("train", missing), Entry("greet", lambda: register)])
    assert main.main(["greet"], environ={}) == 7
    assert "torch" not in capsys.readouterr().err


def test_a_name_that_is_taken(installed: list[Entry], capsys: pytest.CaptureFixture[str]) -> None:
    """A second command of one name is left out and said so, the first one works on."""
    installed.append(Entry("model", lambda: register_twice))
    parser = main.build_parser()
    assert isinstance(parser, argparse.ArgumentParser)
    assert "'model' of elsewhere.command:register is left out" in capsys.readouterr().err
