"""`mens train`: training from the command line, without a cluster."""

from __future__ import annotations

import argparse
import os
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pydantic

from mens.api import basemodel, trainrun
from mens.runtime import errors
from mens_trainer import progress, recipe

if TYPE_CHECKING:
    Commands = argparse._SubParsersAction[argparse.ArgumentParser]


def register(commands: Commands) -> None:
    """Add the trainer's commands to those of `mens`."""
    add_train(commands)


def add_train(commands: Commands) -> None:
    """Add `train` to a parser."""
    parser = commands.add_parser(
        "train", help="train an adapter from local folders, without a cluster"
    )
    parser.add_argument("--base", type=Path, required=True, help="folder of the base model")
    parser.add_argument("--corpus", type=Path, required=True, help="folder of the corpus")
    parser.add_argument("-o", "--out", type=Path, required=True, help="output folder, empty or new")
    parser.add_argument(
        "--schedule",
        default="{}",
        help='spec.schedule of a MensTrainRun as JSON: {"maxSteps": 12, …}',
    )
    parser.add_argument(
        "--ce-last-k",
        type=int,
        default=0,
        help="supervise only the last K tokens of an answer; 0 supervises all",
    )
    parser.add_argument("--eval-rows", type=int, default=64, help="maximum held-out rows")
    parser.add_argument(
        "--threads", type=int, default=os.cpu_count() or 1, help="CPU threads; all by default"
    )
    parser.set_defaults(run=_train)


def _train(arguments: argparse.Namespace) -> int:
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # see __main__
    if arguments.out.exists() and any(arguments.out.iterdir()):
        print(f"--out: {arguments.out} is not empty; use another folder", file=sys.stderr)
        return 1
    try:
        spec = trainrun.MensTrainRunSpec(
            base_model=basemodel.BaseModel(uri="s3://local/base"),
            corpus_ref={"name": "local"},
            objective=trainrun.Objective(ce_last_k=arguments.ce_last_k),
            schedule=trainrun.Schedule.model_validate_json(arguments.schedule),
            evaluation=trainrun.Evaluation(max_rows=arguments.eval_rows),
        )
    except pydantic.ValidationError as e:
        print(e, file=sys.stderr)
        return 2
    from mens_trainer import preparation, training  # noqa: PLC0415  # imports torch: seconds

    inputs = preparation.Inputs(
        arguments.out.name, arguments.base, arguments.corpus, threads=arguments.threads
    )
    try:
        result = training.run(
            inputs,
            recipe.Recipe.from_spec(spec),
            arguments.out,
            progress.ProgressLogger(time.monotonic),
        )
    except errors.JobError as e:
        print(f"{e.reason}: {e}", file=sys.stderr)
        return int(e.exit_code)
    print(f"held-out loss {result.base_eval_loss:.4f} → {result.eval_loss:.4f}; {arguments.out}")
    return 0
