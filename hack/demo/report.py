"""The demo's report: answers, loss, lineage, commands to continue with, and a line of JSON."""

from __future__ import annotations

import dataclasses
import json
import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

from hack import cluster
from hack.demo import platform, questions

WIDTH = 100
"""Columns of the screen; only a path of the machine may be longer."""
ANSWER_LINES = 2
"""Lines of an answer that are shown: one of the task fits, the base's prose is cut."""


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
    """What was learned and from what, as text."""
    return "\n\n".join([_answers(facts), _loss(facts), _lineage(facts)])


def _answers(facts: Facts) -> str:
    base, adapter = facts.answers.items()
    lines = [
        "Held-out questions, asked of the base and of the adapter at once.",
        "right: JSON with the function's name and parameters in order; the summary is not judged.",
        "Both get the same bare prompt; only the adapter has learned to answer it as JSON",
        "(hack/demo/questions.py judges).",
    ]
    widest = max(len(name) for name in facts.answers)
    for before, after in zip(base[1], adapter[1], strict=True):
        question = before.question
        wanted = f"{question.name}({', '.join(question.params)})"
        lines += ["", *_wrapped(f"  {wanted}   from {question.path}")]
        for name, answer in ((base[0], before), (adapter[0], after)):
            head = f"    {name:{widest}}  {answer.verdict:12}  "
            lines += _hung(head, shortened(answer.text, ANSWER_LINES * (WIDTH - len(head))))
    for name, given in facts.answers.items():
        lines += ["", f"  {name}: {questions.right(given)} of {len(given)} right"]
    return "\n".join(lines)


def shortened(said: str, most: int) -> str:
    """The text in one line of so many characters: compact JSON has no spaces to cut at."""
    line = " ".join(said.split())
    return line if len(line) <= most else f"{line[: most - 1]}…"


def _hung(head: str, said: str) -> list[str]:
    """A head with text beside it, broken by characters."""
    room = WIDTH - len(head)
    pieces = [said[start : start + room] for start in range(0, len(said), room)] or [""]
    blank = " " * len(head)
    return [(head + pieces[0]).rstrip(), *(blank + piece for piece in pieces[1:])]


def _loss(facts: Facts) -> str:
    loss = facts.run["status"]["heldOutLoss"]
    return f"Held-out loss (nats per token): {loss['before']} before, {loss['after']} after."


def _lineage(facts: Facts) -> str:
    lines = ["Lineage, from the endpoint back to the sources:"]
    status = facts.serve["status"]
    lines.append(f"  endpoint  {status.get('endpoint', '')}")
    for adapter in status.get("adapters", []):
        lines.append(f"  └ adapter {adapter['name']}  {_short(adapter.get('digest', ''))}")
        lines.append(f"            {adapter.get('uri', '')}")
    for depth, found in ((4, facts.run), (6, facts.corpus)):
        for entry in found["status"].get("lineage", []):
            where = f"{entry['role']:7} {entry['name']:24} {entry['licenseExpression']}"
            lines.append(f"{' ' * depth}└ {where}  {_short(entry['digest'])}")
    compliance = facts.run["status"]["compliance"]
    lines.append(f"  license of the adapter: {compliance['licenseExpression']}")
    lines.append(
        f"  class {compliance['licenseClass']}, attribution required: "
        f"{compliance['attributionRequired']}, obligations: "
        f"{', '.join(compliance.get('obligations', [])) or 'none'}"
    )
    return "\n".join(part for line in lines for part in _wrapped(line))


def _wrapped(line: str) -> list[str]:
    """A line with its indent, as lines of the screen's width."""
    indent = " " * (len(line) - len(line.lstrip()) + 2)
    return textwrap.wrap(
        line, WIDTH, subsequent_indent=indent, break_on_hyphens=False, expand_tabs=False
    )


def _short(digest: str) -> str:
    """Short enough to read; the line of JSON has all digits."""
    return digest[: len("sha256:") + 12]


def look_around(facts: Facts) -> str:
    """Commands that work in the shell and the folder that `make demo` was called in."""
    namespace, running = facts.namespace, facts.cluster
    # Ours first: a kubectl of the user's may be several versions older than the cluster.
    folders = dict.fromkeys((running.helm.parent, running.kubectl.parent))
    store = f"kubectl -n {platform.SYSTEM}"
    keys = "{{range $key, $value := .data}}{{$key}}={{base64decode $value}} {{end}}"
    lines = [
        "Look around (all of it stays until `make demo-down`):",
        f"  export KUBECONFIG={running.kubeconfig}",
        *(f"  export PATH={folder}:$PATH" for folder in folders),
        "  kubectl get mens -A",
        f"  kubectl -n {namespace} describe menstrainrun describe-python",
        f"  kubectl -n {namespace} port-forward service/describe-python 8000 &",
        "  curl -s localhost:8000/v1/models",
        "  make cluster-shell   # a shell with kubectl and helm",
        "What the store holds; the adapter's report.html shows its loss curves:",
        f"  {store} port-forward {platform.STORE} {platform.STORE_PORT} &",
        f"  export MENS_S3_ENDPOINT=http://127.0.0.1:{platform.STORE_PORT}",
        f"  export $({store} get secret {platform.SECRET} -o go-template=\\",
        f"'{keys}')",
    ]
    artifact = facts.run["status"]["artifact"]["uri"]
    lines += [
        f"  adapter={artifact}",
        "  .venv/bin/mens artifact show $adapter",
        "  .venv/bin/mens artifact pull $adapter out/adapter   # out/adapter/report.html",
    ]
    return "\n".join(lines)


def line(facts: Facts) -> str:
    """The last line: JSON for machines."""
    base, adapter = facts.answers.values()
    loss = facts.run["status"]["heldOutLoss"]
    entries = [*facts.run["status"]["lineage"], *facts.corpus["status"].get("lineage", [])]
    licenses = {entry["licenseExpression"] for entry in entries}
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
        "licenses": sorted(licenses),
        "tokens_per_second": round(float(facts.details["tokensPerSecond"]), 1),
        "peak_rss_mb": round(float(facts.details["peakRssBytes"]) / 2**20),
    }
    return json.dumps(result)
