"""Reads Dockerfiles, as far as ours go: stages, what they start from, and what they copy.

The files themselves say what an image is made of, so its key is taken from them and no second
list of sources can fall behind.
"""

import dataclasses
import shlex
from collections.abc import Sequence
from pathlib import Path


@dataclasses.dataclass(frozen=True)
class Stage:
    """One `FROM … AS name` and the instructions after it."""

    name: str
    """What AS calls it."""

    parent: str
    """What it starts from: another stage's name, or an image, variables unexpanded."""

    instructions: tuple[str, ...]
    """Instructions in order, FROM included: comments gone, continued lines joined by a newline."""

    @property
    def sources(self) -> tuple[str, ...]:
        """Paths that are copied from the build context."""
        found: list[str] = []
        for words in self._copies():
            if not any(word.startswith("--from=") for word in words):
                found += [word for word in words[1:-1] if not word.startswith("--")]
        return tuple(found)

    @property
    def needs(self) -> tuple[str, ...]:
        """Names this stage refers to: its parent and what it copies from."""
        words = [word for words in self._copies() for word in words]
        sources = [word.removeprefix("--from=") for word in words if word.startswith("--from=")]
        return (self.parent, *sources)

    def _copies(self) -> list[list[str]]:
        split = [shlex.split(one) for one in self.instructions if one.startswith(("COPY ", "ADD "))]
        return [words for words in split if len(words) >= 3]


def read(path: Path) -> tuple[Stage, ...]:
    """Returns the stages of a Dockerfile, in order."""
    return parse(path.read_text())


def parse(text: str) -> tuple[Stage, ...]:
    """Returns the stages of a Dockerfile's text, in order.

    Raises:
        ValueError: A stage has no name; ours all have one.
    """
    stages: list[Stage] = []
    for instruction in _instructions(text):
        words = instruction.split()
        if words[0].upper() != "FROM":
            if stages:
                last = stages[-1]
                grown = (*last.instructions, instruction)
                stages[-1] = dataclasses.replace(last, instructions=grown)
            continue
        if len(words) != 4 or words[2].upper() != "AS":
            raise ValueError(f"give the stage a name: FROM IMAGE AS NAME, not {instruction!r}")
        stages.append(Stage(words[3], words[1], (instruction,)))
    return tuple(stages)


def closure(stages: Sequence[Stage], target: str) -> tuple[Stage, ...]:
    """Returns the stages that a target is made of, in the file's order.

    Raises:
        KeyError: The stage does not exist.
    """
    named = {stage.name: stage for stage in stages}
    wanted, waiting = {target}, [named[target]]
    while waiting:
        for need in waiting.pop().needs:
            if need in named and need not in wanted:
                wanted.add(need)
                waiting.append(named[need])
    return tuple(stage for stage in stages if stage.name in wanted)


def _instructions(text: str) -> list[str]:
    found: list[str] = []
    continued = False
    for line in text.splitlines():
        stripped = line.strip()
        if not stripped or stripped.startswith("#"):
            continue
        if continued:
            found[-1] += "\n" + stripped.removesuffix("\\").rstrip()
        else:
            found.append(stripped.removesuffix("\\").rstrip())
        continued = stripped.endswith("\\")
    return found
