"""What the demo judges, says and uploads."""

from __future__ import annotations

import dataclasses
import inspect
import json
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest

from hack.cluster import clusters
from hack.demo import __main__ as command
from hack.demo import job, questions, report, sources
from mens.artifacts import refs
from mens.cli import main
from tests.support import memory_store

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
    """Prose, a near miss and an answer that continues are not right."""
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
    running = clusters.Cluster(
        name="demo",
        kind=clusters.Kind.EMBEDDED,
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


def test_the_last_line_is_json() -> None:
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


def test_shown_commands_work_on_a_bare_machine() -> None:
    """kubectl and helm lie in a cache that is on nobody's PATH."""
    shown = report.look_around(facts())
    assert "export KUBECONFIG=/run/mens/demo/kubeconfig" in shown
    assert "export PATH=/cache/bin/k8s-1:$PATH\n" in shown, "ours first: an older one would win"
    assert "export PATH=/cache/bin/helm-2:$PATH\n" in shown


def test_the_store_can_be_looked_into() -> None:
    """The commands hold together in a shell: keys from the Secret, then `mens` on the adapter."""
    lines = report.look_around(facts()).splitlines()
    exported = next(line for line in lines if line.strip().startswith("export $("))
    keys = "\n".join([exported, lines[lines.index(exported) + 1]])
    fake = 'kubectl() { echo "$7" >&2; echo "AWS_ACCESS_KEY_ID=abc AWS_SECRET_ACCESS_KEY=d/e+f "; }'
    done = subprocess.run(
        ["bash", "-euc", f'{fake}\n{keys}\necho "$AWS_ACCESS_KEY_ID $AWS_SECRET_ACCESS_KEY"'],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == "abc d/e+f\n"
    assert done.stderr.startswith("go-template={{range $key, $value := .data}}")
    commands = [line.split("#")[0].split() for line in lines if ".venv/bin/mens" in line]
    assert len(commands) == 2
    for words in commands:
        main.build_parser().parse_args(words[1:])
    assert "  adapter=s3://mens/run" in lines


def test_an_answer_without_spaces_is_cut_by_characters() -> None:
    """Compact JSON is one long word: all that fits of it is shown."""
    said = json.dumps({"name": "f", "params": ["a"] * 50}, separators=(",", ":"))
    assert report.shortened(said, 20) == said[:19] + "…"
    assert report.shortened(said, len(said)) == said
    assert report.shortened("two\n  lines", 20) == "two lines"


def test_the_screen_fits_100_columns_and_digests_are_short() -> None:
    """Answers without spaces, many parameters and many obligations; the JSON has all digits."""
    params = tuple(f"parameter_{number}" for number in range(12))
    question = questions.Question("Describe f.", "f", params, "multiprocessing/tracker.py")
    said = json.dumps({"name": "f", "params": params}, separators=(",", ":"))
    status = facts().run["status"]
    digest = "sha256:" + "a1" * 32
    compliance = status["compliance"] | {
        "obligations": [f"Apache-2.0/obligation-{number}" for number in range(12)]
    }
    lineage = [entry | {"digest": digest} for entry in status["lineage"]]
    run = {"status": status | {"compliance": compliance, "lineage": lineage}}
    served = {"name": "describe-python", "digest": digest, "uri": "s3://mens/runs/1"}
    shown = dataclasses.replace(
        facts(),
        run=run,
        serve={"status": {"endpoint": "http://chat", "adapters": [served]}},
        answers={
            "smollm2-135m-instruct": [questions.Answer(question, "word " * 80, 0.1)],
            "describe-python": [questions.Answer(question, said, 0.1)],
        },
    )
    text = report.text(shown)
    assert max(len(line) for line in text.splitlines()) <= report.WIDTH
    assert max(len(line) for line in report.look_around(shown).splitlines()) <= report.WIDTH
    assert said[:58] in text
    assert digest not in text
    assert text.count("sha256:" + "a1" * 6) == 2
    assert "3.3 before, 1.1 after" in text
    assert "Apache-2.0/obligation-11" in text


def test_every_stage_has_its_number() -> None:
    """The demo announces what `STAGES` names, in that order, or the numbers would lie."""
    announced = [
        name
        for module in (command, job)
        for name in re.findall(r'stages\.stage\("([a-z]+)"', inspect.getsource(module))
    ]
    assert announced == list(job.STAGES)


def test_a_file_that_changed_is_uploaded_again(tmp_path: Path) -> None:
    """Also when its size stayed the same."""
    target, folder = memory_store.MemoryStore(["mens"]), refs.Uri("mens", "sources/docs")
    file = tmp_path / "a.md"
    file.write_text("old!")
    assert sources.upload(target, folder, [("a.md", file)]) == 1
    file.write_text("new!")
    sources.upload(target, folder, [("a.md", file)])
    assert target.get_bytes(folder / "a.md") == b"new!"
    assert [info.uri.name for info in target.list(folder)] == ["a.md"], "the note lies beside it"
