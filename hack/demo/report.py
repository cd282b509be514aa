"""What the demo says at its end: answers, loss, lineage, where to look, and one line of JSON."""

from __future__ import annotations

import dataclasses
import json
import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

from hack import cluster
from hack.demo import questions


@dataclasses.dataclass(frozen=True)
class Facts:
    """Everything the report is made of."""

    corpus: Mapping[str, Any]
    """The MensCorpus."""
    run: Mapping[str, Any]
    """The MensTrainRun."""
    serve: Mapping[str, Any]
    """The MensServe."""
    details: Mapping[str, Any]
    """Facts of the adapter's manifest."""
    answers: Mapping[str, Sequence[questions.Answer]]
    """Answers by model, the base first."""
    seconds: Mapping[str, float]
    """Seconds of each stage."""
    cluster: cluster.Cluster
    """Where it all runs."""
    namespace: str
    """Namespace of the three resources."""


def text(facts: Facts) -> str:
    """The report for a person."""
    parts = [_answers(facts), _loss(facts), _lineage(facts), _look_around(facts)]
    return "\n\n".join(parts)


def _answers(facts: Facts) -> str:
    base, adapter = facts.answers.items()
    lines = ["Held-out questions, asked of the base and of the adapter at once:"]
    for before, after in zip(base[1], adapter[1], strict=True):
        question = before.question
        wanted = f"{question.name}({', '.join(question.params)})"
        lines.append(f"\n  {wanted}   from {question.path}")
        for name, answer in ((base[0], before), (adapter[0], after)):
            said = textwrap.shorten(" ".join(answer.text.split()), 150, placeholder=" …")
            lines.append(f"    {name:24} {answer.verdict:13} {said}")
    for name, given in facts.answers.items():
        lines.append(f"\n  {name}: {questions.right(given)} of {len(given)} right")
    return "\n".join(lines)


def _loss(facts: Facts) -> str:
    loss = facts.run["status"]["heldOutLoss"]
    return f"Held-out loss (nats per token): {loss['before']} before, {loss['after']} after."


def _lineage(facts: Facts) -> str:
    lines = ["Lineage, from the endpoint back to the sources:"]
    status = facts.serve["status"]
    lines.append(f"  endpoint  {status.get('endpoint', '')}")
    for adapter in status.get("adapters", []):
        lines.append(f"  └ adapter {adapter['name']}  {adapter.get('digest', '')}")
        lines.append(f"            {adapter.get('uri', '')}")
    for depth, found in ((4, facts.run), (6, facts.corpus)):
        for entry in found["status"].get("lineage", []):
            where = f"{entry['role']:7} {entry['name']:24} {entry['licenseExpression']}"
            lines.append(f"{' ' * depth}└ {where}  {entry['digest']}")
    compliance = facts.run["status"]["compliance"]
    lines.append(f"  licence of the adapter: {compliance['licenseExpression']}")
    lines.append(
        f"  class {compliance['licenseClass']}, attribution required: "
        f"{compliance['attributionRequired']}, obligations: "
        f"{', '.join(compliance.get('obligations', [])) or 'none'}"
    )
    return "\n".join(lines)


def _look_around(facts: Facts) -> str:
    namespace, running = facts.namespace, facts.cluster
    return "\n".join(
        [
            "Look around (all of it stays until `make demo-down`):",
            f"  export KUBECONFIG={running.kubeconfig}",
            f"  export PATH=$PATH:{running.kubectl.parent}:{running.helm.parent}",
            "  kubectl get mens -A",
            f"  kubectl -n {namespace} describe menstrainrun describe-python",
            f"  kubectl -n {namespace} port-forward service/describe-python 8000 &",
            "  curl -s localhost:8000/v1/models",
            "  make cluster-shell   # a shell with kubectl and helm",
        ]
    )


def line(facts: Facts) -> str:
    """The last line: JSON for machines."""
    base, adapter = facts.answers.values()
    loss = facts.run["status"]["heldOutLoss"]
    entries = [*facts.run["status"]["lineage"], *facts.corpus["status"].get("lineage", [])]
    licences = {entry["licenseExpression"] for entry in entries}
    result = {
        "demo": "ok",
        "seconds": facts.seconds,
        "heldout_loss": {"before": float(loss["before"]), "after": float(loss["after"])},
        "answers": {
            "base": {"right": questions.right(base), "of": len(base)},
            "adapter": {"right": questions.right(adapter), "of": len(adapter)},
        },
        "digests": {
            "corpus": facts.corpus["status"]["artifact"]["digest"],
            "adapter": facts.run["status"]["artifact"]["digest"],
        },
        "licenses": sorted(licences),
        "tokens_per_second": round(float(facts.details["tokensPerSecond"]), 1),
        "peak_rss_mb": round(float(facts.details["peakRssBytes"]) / 2**20),
    }
    return json.dumps(result)
