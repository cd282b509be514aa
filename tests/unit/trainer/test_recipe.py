"""Batches, number of steps and learning rate of a recipe."""

from __future__ import annotations

import dataclasses
import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mens.api import trainrun
from mens_trainer import recipe

LENGTHS = st.lists(st.integers(1, 400), min_size=1, max_size=200)
PLANS = st.builds(
    recipe.Recipe,
    batch=st.integers(1, 9),
    micro_batch=st.integers(1, 4),
    epochs=st.integers(1, 3),
    max_steps=st.none() | st.integers(1, 60),
    seed=st.integers(0, 5),
)


@given(LENGTHS, PLANS)
@settings(max_examples=60, deadline=None)
def test_every_row_is_used_once_per_epoch(lengths: list[int], plan: recipe.Recipe) -> None:
    """Without `max_steps`, each row occurs `epochs` times; with it, the same order is cut short."""
    unlimited = list(recipe.optimizer_steps(lengths, dataclasses.replace(plan, max_steps=None)))
    rows = [row for step in unlimited for batch in step for row in batch]
    assert sorted(rows) == sorted(list(range(len(lengths))) * plan.epochs)
    limited = list(recipe.optimizer_steps(lengths, plan))
    assert len(limited) == plan.total_steps(len(lengths))
    assert limited == unlimited[: len(limited)]


@given(LENGTHS, PLANS, st.integers(1, 9))
@settings(max_examples=40, deadline=None)
def test_the_micro_batch_size_does_not_change_the_rows_of_a_step(
    lengths: list[int], plan: recipe.Recipe, other: int
) -> None:
    """An attempt with another micro-batch size trains on the same steps."""

    def rows(which: recipe.Recipe) -> list[list[int]]:
        return [list(itertools.chain(*step)) for step in recipe.optimizer_steps(lengths, which)]

    assert rows(plan) == rows(dataclasses.replace(plan, micro_batch=other))


def test_padding_is_below_a_tenth() -> None:
    """Steps group rows by length."""
    lengths = [20 + (i * 7919) % 180 for i in range(1341)]
    plan = recipe.Recipe(batch=4, micro_batch=4)
    padded = sum(
        max(lengths[r] for r in b) * len(b)
        for s in recipe.optimizer_steps(lengths, plan)
        for b in s
    )
    assert padded < 1.1 * sum(lengths)


def test_the_learning_rate_rises_and_falls_linearly() -> None:
    """Up over the warmup steps, then down to 0 at the step after the last one."""
    plan = recipe.Recipe(learning_rate=1.0, warmup_steps=3)
    rates = [plan.learning_rate_at(step, 10) for step in range(10)]
    assert rates[:3] == pytest.approx([0.25, 0.5, 0.75])
    assert rates[3] == 1.0
    assert rates[3:] == sorted(rates[3:], reverse=True)
    assert rates[-1] == pytest.approx(1 / 7)
    assert recipe.Recipe(learning_rate=1.0, warmup_steps=100).learning_rate_at(0, 1) == 1.0


def test_a_recipe_contains_every_field_of_the_spec() -> None:
    """Of a MensTrainRun."""
    spec = trainrun.MensTrainRunSpec.model_validate(
        {
            "baseModel": {"uri": "s3://mens/models/m"},
            "corpusRef": {"name": "c"},
            "lora": {"rank": 8, "alpha": 64, "dropout": "0.1"},
            "objective": {"ceLastK": 5},
            "schedule": {
                "epochs": 2,
                "maxSteps": 7,
                "learningRate": "1e-3",
                "warmupSteps": 1,
                "effectiveBatchSize": 6,
                "microBatchSize": 3,
                "maxTokens": 99,
                "seed": 4,
            },
            "evaluation": {"maxRows": 11},
        }
    )
    expected = recipe.Recipe(
        rank=8,
        alpha=64,
        dropout=0.1,
        ce_last_k=5,
        epochs=2,
        max_steps=7,
        learning_rate=1e-3,
        warmup_steps=1,
        batch=6,
        micro_batch=3,
        max_tokens=99,
        seed=4,
        evaluation_rows=11,
    )
    assert recipe.Recipe.from_spec(spec) == expected
