"""Small resources that end-to-end tests apply."""

from __future__ import annotations

from pathlib import Path
from typing import Any

LICENSE = Path(__file__).resolve().parents[2] / "LICENSE"
"""A license text that is known: Apache-2.0."""
API = "mens.vox-lang.org/v1alpha1"


def corpus(space: str, uri: str, **source: Any) -> dict[str, Any]:
    """A corpus of one S3 source."""
    one = {
        "name": "code",
        "s3": {"uri": uri},
        "extract": ["PythonFunctions"],
        "license": "Apache-2.0",
    }
    return {
        "apiVersion": API,
        "kind": "MensCorpus",
        "metadata": {"name": "corpus", "namespace": space},
        "spec": {
            "sources": [{**one, **source}],
            "split": {"validationFraction": "0.3"},
            "resources": {"cpu": "50m", "memory": "512Mi"},
        },
    }


def train_run(space: str, base: str, **spec: Any) -> dict[str, Any]:
    """A run of a few steps over the corpus of the same namespace."""
    return {
        "apiVersion": API,
        "kind": "MensTrainRun",
        "metadata": {"name": "run", "namespace": space},
        "spec": {
            "baseModel": {"uri": base},
            "corpusRef": {"name": "corpus"},
            "schedule": {
                "maxSteps": 4,
                "learningRate": "1e-2",
                "effectiveBatchSize": 4,
                "microBatchSize": 2,
                "maxTokens": 512,
            },
            "resources": {"cpu": "50m", "threads": 2, "memory": "3Gi"},
            **spec,
        },
    }


def serve(space: str, base: str, adapter: dict[str, Any]) -> dict[str, Any]:
    """The base and one adapter."""
    return {
        "apiVersion": API,
        "kind": "MensServe",
        "metadata": {"name": "serve", "namespace": space},
        "spec": {
            "baseModel": {"uri": base},
            "baseName": "tiny",
            "adapters": [{"name": "adapter", **adapter}],
            "resources": {"cpu": "50m", "threads": 2, "memory": "3Gi"},
        },
    }


def functions(count: int) -> str:
    """Python source with documented functions."""
    head = 'def add_{0}(first, second):\n    """Add number {0} to both."""\n'
    one = head + "    return first + second + {0}\n"
    return "\n\n".join(one.format(number) for number in range(count))
