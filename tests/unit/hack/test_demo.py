"""What the demo judges, says and uploads."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from hack.demo import questions, report, sources
from mens.artifacts import memory, refs

QUESTION = questions.Question("Describe f.", "f", ("a", "b"), "f.py")


@pytest.mark.parametrize(
    ("said", "verdict"),
    [
        ('{"name": "f", "params": ["a", "b"], "summary": "x"}', "right"),
        (' {"params": ["a", "b"], "name": "f"}\n', "right"),
        ('{"name": "f", "params": ["b", "a"]}', "wrong params"),
        ('{"name": "f"}', "wrong params"),
        ('{"name": "g", "params": ["a", "b"]}', "wrong name"),
        ('["f"]', "no JSON"),
        ("The function f takes a and b.", "no JSON"),
        ('{"name": "f", "params": ["a", "b"]} and more', "no JSON"),
        ("", "no JSON"),
    ],
)
def test_only_name_and_parameters_in_order_are_right(said: str, verdict: str) -> None:
    """Prose, a near miss and an answer that goes on are not right."""
    assert questions.Answer(QUESTION, said, 0.1).verdict == verdict


def row(name: str, *params: str) -> dict[str, Any]:
    response = json.dumps({"name": name, "params": params, "summary": "x"})
    return {"prompt": f"Describe {name}.", "response": response, "metadata": {"path": "x.py"}}


def test_the_hardest_question_is_among_them() -> None:
    """Spread over the rows, the one with the most parameters last; other tasks are left out."""
    rows = [row(f"f{number}", "a") for number in range(20)]
    rows[3] = row("hard", *"abcdefg")
    rows.insert(0, {"prompt": "What is it?", "response": "Prose."})
    chosen = questions.choose(rows, 4)
    assert [each.name for each in chosen] == ["f0", "f7", "f13", "hard"]
    assert len(questions.choose(rows[:3], 4)) == 2


def facts(**cluster: Any) -> report.Facts:
    right = questions.Answer(QUESTION, '{"name": "f", "params": ["a", "b"]}', 0.1)
    wrong = questions.Answer(QUESTION, "Well,", 0.1)
    entry = {
        "role": "Base",
        "name": "smollm2",
        "digest": "sha256:b",
        "licenseExpression": "Apache-2.0",
    }
    source = {**entry, "role": "Source", "name": "stdlib", "licenseExpression": "PSF-2.0"}
    compliance = {
        "licenseExpression": "Apache-2.0 AND PSF-2.0",
        "licenseClass": "Permissive",
        "attributionRequired": True,
    }
    status = {
        "artifact": {"digest": "sha256:r", "uri": "s3://mens/run"},
        "lineage": [entry],
        "heldOutLoss": {"before": "3.3", "after": "1.1"},
        "compliance": compliance,
    }
    corpus = {"status": {"artifact": {"digest": "sha256:c"}, "lineage": [source]}}
    serve = {"status": {"endpoint": "http://chat", "adapters": []}}
    details = {"tokensPerSecond": "160.04", "peakRssBytes": 2 * 2**30}
    answers = {"base": [wrong], "adapter": [right]}
    programs = Path("/cache/bin/k8s-1/kubectl"), Path("/cache/bin/helm-2/helm")
    running = report.cluster.Cluster(
        name="demo",
        kind=report.cluster.Kind.EMBEDDED,
        kubeconfig=Path("/run/mens/demo/kubeconfig"),
        kubectl=programs[0],
        helm=programs[1],
        run=Path("/run/mens/demo"),
        node=True,
        kwok=False,
    )
    return report.Facts(
        corpus, {"status": status}, serve, details, answers, {"total": 9.0}, running, "demo"
    )


def test_the_last_line_is_what_machines_read() -> None:
    """Every key of the contract, from the resources and not from thin air."""
    assert json.loads(report.line(facts())) == {
        "demo": "ok",
        "seconds": {"total": 9.0},
        "heldout_loss": {"before": 3.3, "after": 1.1},
        "answers": {"base": {"right": 0, "of": 1}, "adapter": {"right": 1, "of": 1}},
        "digests": {"corpus": "sha256:c", "adapter": "sha256:r"},
        "licenses": ["Apache-2.0", "PSF-2.0"],
        "tokens_per_second": 160.0,
        "peak_rss_mb": 2048,
    }


def test_the_commands_it_shows_work_on_a_bare_machine() -> None:
    """kubectl and helm lie in a cache that is on nobody's PATH."""
    shown = report.text(facts())
    assert "export KUBECONFIG=/run/mens/demo/kubeconfig" in shown
    assert "export PATH=$PATH:/cache/bin/k8s-1:/cache/bin/helm-2" in shown
    assert "3.3 before, 1.1 after" in shown


def test_a_file_that_changed_is_uploaded_again(tmp_path: Path) -> None:
    """Also when its size stayed the same."""
    target, folder = memory.MemoryStore(["mens"]), refs.Uri("mens", "sources/docs")
    file = tmp_path / "a.md"
    file.write_text("old!")
    assert sources.upload(target, folder, [("a.md", file)]) == 1
    file.write_text("new!")
    sources.upload(target, folder, [("a.md", file)])
    assert target.get_bytes(folder / "a.md") == b"new!"
    assert [info.uri.name for info in target.list(folder)] == ["a.md"], "the note lies beside it"
