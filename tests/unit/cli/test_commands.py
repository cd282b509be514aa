"""Facts about the `mens` command: what a person or a script sees, and the exit codes."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mens.artifacts import digests, errors, layout, manifests, publisher, reader, refs
from mens.cli import main, output
from tests.support import manifests as some
from tests.support import memory_store
from tests.support.s3 import S3Server
from tests.unit.provenance.test_licenses import MIT

URI = "s3://mens/models/tiny/1"
LICENSE = "LICENSE"


def safetensors(shape: list[int], dtype: str = "F32") -> bytes:
    size = 4
    for each in shape:
        size *= each
    header = json.dumps({"w": {"dtype": dtype, "shape": shape, "data_offsets": [0, size]}}).encode()
    return len(header).to_bytes(8, "little") + header + bytes(size)


@pytest.fixture
def store() -> memory_store.MemoryStore:
    return memory_store.MemoryStore(["mens"])


@pytest.fixture
def mens(store: memory_store.MemoryStore) -> Callable[..., int]:
    return lambda *args: main.main([str(arg) for arg in args], open_store=lambda: store)


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A model folder as Hugging Face has them, and its license beside it."""
    files = {
        "config.json": b'{"architectures": ["TinyForCausalLM"]}',
        "tokenizer.json": b"{}",
        "model.safetensors": safetensors([3, 5]),
        "README.md": b"---\nlicense: mit\n---\n# Tiny\n",
        ".cache/huggingface/x.bin": b"no part of the model",
    }
    (tmp_path / LICENSE).write_text(MIT)
    return some.folder(tmp_path / "model", files)


def import_args(model: Path, *more: str) -> list[str]:
    return [
        *("model", "import", str(model), URI, "--family", "tiny", "--model-id", "acme/tiny"),
        *("--revision", "abc", "--license-file", str(model.parent / LICENSE), *more),
    ]


def answer(capsys: pytest.CaptureFixture[str]) -> Any:
    return json.loads(capsys.readouterr().out)


def test_import(
    mens: Callable[..., int],
    model: Path,
    store: memory_store.MemoryStore,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """A model folder becomes a Model artifact with upstream, license, text and facts."""
    assert mens(*import_args(model, "--json")) == 0
    told = answer(capsys)
    manifest, digest = manifests.read(store, refs.Uri.parse(URI))
    assert told["digest"] == digest
    assert told["compliance"]["licenseExpression"] == "MIT"
    assert manifest.kind is manifests.Kind.MODEL
    assert manifest.upstream == manifests.Upstream(
        family="tiny", model_id="acme/tiny", revision="abc"
    )
    assert manifest.details == {
        "architecture": "TinyForCausalLM",
        "parameters": 15,
        "dtype": "F32",
    }
    assert [file.path for file in manifest.files] == [
        "LICENSES/MIT.txt",
        "README.md",
        "config.json",
        "model.safetensors",
        "tokenizer.json",
    ]
    text = manifest.file("LICENSES/MIT.txt")
    assert text is not None
    assert reader.read_file(store, refs.Uri.parse(URI), text) == MIT.encode()


def test_import_again(
    mens: Callable[..., int], model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Importing twice is importing once: the same digest."""
    mens(*import_args(model, "--json"))
    first = answer(capsys)
    mens(*import_args(model, "--json"))
    assert answer(capsys) == first


def test_import_over_another_model(
    mens: Callable[..., int],
    model: Path,
    store: memory_store.MemoryStore,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """What lies there already is never taken for what was to be imported; it stays."""
    assert mens(*import_args(model)) == 0
    before = store.get_bytes(layout.manifest(refs.Uri.parse(URI)))
    capsys.readouterr()
    assert mens(*import_args(model, "--revision", "other")) == 64
    assert "with --revision abc;" in capsys.readouterr().err
    (model / "tokenizer.json").write_bytes(b'{"new": 1}')
    (model / "generation_config.json").write_bytes(b"{}")
    assert mens(*import_args(model)) == 64
    said = capsys.readouterr().err
    assert said.startswith("mens: OtherArtifact: ")
    assert "other files: generation_config.json, tokenizer.json" in said
    assert store.get_bytes(layout.manifest(refs.Uri.parse(URI))) == before


def test_import_beside_another_import(
    mens: Callable[..., int],
    model: Path,
    store: memory_store.MemoryStore,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Who comes second is told so, even where facts are equal and the other came in between."""
    put, begun = store.put_file, []
    other = shutil.copytree(model, model.parent / "other")
    (other / "tokenizer.json").write_bytes(b"[]")

    def meanwhile(uri: refs.Uri, path: Path, digest: digests.Digest) -> None:
        begun.append(uri)
        if len(begun) == 1:
            assert mens(*import_args(other)) == 0
        put(uri, path, digest)

    monkeypatch.setattr(store, "put_file", meanwhile)
    assert mens(*import_args(model)) == 64
    assert "other files: tokenizer.json" in capsys.readouterr().err


def test_import_after_an_unknown_license(
    mens: Callable[..., int],
    model: Path,
    store: memory_store.MemoryStore,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """A right license file is not swallowed by the wrong one of before; the way out is said."""
    (model.parent / LICENSE).write_text("Our own terms.")
    assert mens(*import_args(model, "--allow-unknown")) == 0
    (model.parent / LICENSE).write_text(MIT)
    assert mens(*import_args(model)) == 64
    said = capsys.readouterr().err
    assert "the license NOASSERTION" in said
    assert f"delete {URI}/manifest.json" in said
    store.delete(layout.manifest(refs.Uri.parse(URI)))
    assert mens(*import_args(model)) == 0


def test_import_from_a_cache_of_links(
    mens: Callable[..., int], model: Path, store: memory_store.MemoryStore
) -> None:
    """Hugging Face's cache is made of links to files; those are followed."""
    blob = model.parent / "blob"
    (model / "model.safetensors").rename(blob)
    (model / "model.safetensors").symlink_to(blob)
    assert mens(*import_args(model)) == 0
    assert manifests.read(store, refs.Uri.parse(URI))[0].details["parameters"] == 15


def broken(model: Path, name: str, data: bytes | None) -> None:
    if data is None:
        (model / name).unlink()
    else:
        (model / name).write_bytes(data)


@pytest.mark.parametrize(
    ("name", "data", "reason", "words"),
    [
        ("pytorch_model.bin", b"\x80", "PickleRefused", "convert the weights to safetensors"),
        ("optimizer.pt", b"\x80", "PickleRefused", "optimizer.pt"),
        ("config.json", None, "ManifestInvalid", "no config.json"),
        ("config.json", b"[]", "ManifestInvalid", "not a JSON object"),
        ("model.safetensors", None, "ManifestInvalid", "no \\*.safetensors"),
        ("model.safetensors", b"GGUF", "ManifestInvalid", "not a safetensors file"),
        ("model.safetensors", safetensors([3, 5])[:-1], "ManifestInvalid", "download it again"),
        (
            "model.safetensors.index.json",
            b'{"weight_map": {"w": "model-2.safetensors"}}',
            "ManifestInvalid",
            "lacks model-2.safetensors",
        ),
        ("../LICENSE", None, "ManifestInvalid", "correct --license-file"),
        ("../LICENSE", b"Our own terms.", "LicenseUnknown", "--allow-unknown"),
        ("README.md", b"---\nlicense: apache-2.0\n---\n", "LicenseUnknown", "correct the one"),
    ],
)
def test_refused_models(
    mens: Callable[..., int],
    model: Path,
    store: memory_store.MemoryStore,
    capsys: pytest.CaptureFixture[str],
    name: str,
    data: bytes | None,
    reason: str,
    words: str,
) -> None:
    """What is wrong with a model folder is said with its reason, and nothing is published."""
    broken(model, name, data)
    assert mens(*import_args(model)) == 64
    said = capsys.readouterr().err
    assert said.startswith(f"mens: {reason}: ")
    assert words.replace("\\", "") in said
    assert list(store.list(refs.Uri("mens"))) == []


def test_import_of_an_unknown_license(
    mens: Callable[..., int], model: Path, store: memory_store.MemoryStore
) -> None:
    """An unknown license can be imported on purpose; it is recorded as Unknown, with its text."""
    (model.parent / LICENSE).write_text("Our own terms.")
    assert mens(*import_args(model, "--allow-unknown")) == 0
    said = manifests.read(store, refs.Uri.parse(URI))[0].compliance
    assert said.license_class is manifests.LicenseClass.UNKNOWN
    assert said.license_expression == "NOASSERTION"
    assert [held.path for held in said.licenses] == ["LICENSES/LicenseRef-Unknown.txt"]


@pytest.fixture
def artifact(store: memory_store.MemoryStore, tmp_path: Path) -> refs.ArtifactRef:
    folder = some.folder(tmp_path / "artifact", {"a.json": b"{}", "sub/b": b"123"})
    return publisher.publish(store, refs.Uri.parse(URI), folder, some.draft())


def test_show(
    mens: Callable[..., int], artifact: refs.ArtifactRef, capsys: pytest.CaptureFixture[str]
) -> None:
    """Show tells a person what it is, and a script the whole manifest."""
    assert mens("artifact", "show", URI) == 0
    text = capsys.readouterr().out
    for word in ("Model tiny", artifact.digest, "MIT (PermissiveWithAttribution)", "sub/b"):
        assert word in text
    assert mens("artifact", "show", URI, "--json") == 0
    told = answer(capsys)
    assert told["digest"] == artifact.digest
    assert told["manifest"]["schema"] == "mens.artifact/v1"


def test_pull(
    mens: Callable[..., int],
    artifact: refs.ArtifactRef,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Pull brings the files that were asked for."""
    assert mens("artifact", "pull", artifact, tmp_path / "out", "--only", "sub/*", "--json") == 0
    assert answer(capsys)["files"] == ["sub/b"]
    assert (tmp_path / "out/sub/b").read_bytes() == b"123"
    assert not (tmp_path / "out/a.json").exists()


@pytest.mark.parametrize("option", [(), ("--quick",)])
def test_verify(
    mens: Callable[..., int],
    artifact: refs.ArtifactRef,
    store: memory_store.MemoryStore,
    capsys: pytest.CaptureFixture[str],
    option: tuple[str, ...],
) -> None:
    """Verify says yes, and no with exit code 64 once a byte is missing."""
    assert mens("artifact", "verify", URI, *option) == 0
    file = manifests.read(store, artifact)[0].files[1]
    store.put_bytes(layout.blob(artifact.uri, file.digest), b"12")
    assert mens("artifact", "verify", URI, "--json", *option) == 64
    output_text = capsys.readouterr().out
    error = json.loads(output_text[output_text.index("{") :])["error"]
    assert error["reason"] == "DigestMismatch"
    assert "sub/b" in error["message"]


def test_a_digest_that_is_not_there(
    mens: Callable[..., int], artifact: refs.ArtifactRef, capsys: pytest.CaptureFixture[str]
) -> None:
    """With a digest behind the URI another artifact in its place is refused."""
    assert mens("artifact", "show", f"{URI}@sha256:{'0' * 64}") == 64
    assert "DigestMismatch" in capsys.readouterr().err


def test_lineage(
    mens: Callable[..., int],
    artifact: refs.ArtifactRef,
    store: memory_store.MemoryStore,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Lineage shows inputs with digest and license, as a tree and as JSON."""
    base = manifests.Input(
        role=manifests.Role.BASE,
        name="tiny",
        uri=URI,
        digest=artifact.digest,
        license_expression="MIT",
    )
    folder = some.folder(tmp_path / "adapter", {"adapter_model.safetensors": b"1"})
    draft = some.draft("mine", kind=manifests.Kind.ADAPTER, inputs=(base,))
    publisher.publish(store, refs.Uri("mens", "runs/u/k"), folder, draft)
    assert mens("lineage", "s3://mens/runs/u/k") == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "Adapter mine  [MIT]"
    assert lines[2] == "└─ Base tiny  [MIT]"
    assert artifact.digest in lines[3]
    assert mens("lineage", "s3://mens/runs/u/k", "--json") == 0
    assert answer(capsys)["inputs"][0]["digest"] == artifact.digest


@pytest.mark.parametrize(
    ("args", "code", "words"),
    [
        (["artifact", "show", "s3://mens/none"], 64, "ObjectNotFound"),
        (["artifact", "show", "s3://other/x"], 75, "BucketNotFound"),
        (["artifact", "show", "/tmp/x"], 64, "write s3://bucket/key"),
        (["lineage", "s3://mens/none"], 64, "ObjectNotFound"),
    ],
)
def test_exit_codes(
    mens: Callable[..., int],
    capsys: pytest.CaptureFixture[str],
    args: list[str],
    code: int,
    words: str,
) -> None:
    """64 asks for another input, 75 says that trying again may help."""
    assert mens(*args) == code
    said = capsys.readouterr().err
    assert words in said
    assert "Traceback" not in said


def test_an_unreachable_store(capsys: pytest.CaptureFixture[str]) -> None:
    """A store that does not answer is one line with the endpoint and exit code 75."""
    environ = {
        "MENS_S3_ENDPOINT": "http://127.0.0.1:1",
        "AWS_ACCESS_KEY_ID": "key",
        "AWS_SECRET_ACCESS_KEY": "hidden",
    }
    assert main.main(["artifact", "show", URI], environ=environ) == 75
    said = capsys.readouterr().err
    assert "StorageUnreachable: http://127.0.0.1:1 does not answer" in said
    assert "hidden" not in said


@pytest.mark.parametrize(
    "args",
    [
        [],
        ["artifact"],
        ["artifact", "show"],
        ["artifact", "pull"],
        ["artifact", "verify"],
        ["lineage"],
        ["model"],
        ["model", "import"],
    ],
)
def test_help(args: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """Every command explains itself, without a store and without boto3's start-up time."""
    with pytest.raises(SystemExit) as caught:
        main.main([*args, "--help"], environ={})
    assert caught.value.code == 0
    assert f"usage: {' '.join(['mens', *args])}" in capsys.readouterr().out


def test_progress_on_a_terminal(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """On a terminal a bar ends with all bytes and a new line; elsewhere nothing is drawn."""
    output.Progress("pull", shown=True)(5, 5)
    assert capsys.readouterr().err == ""
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    progress = output.Progress("pull", shown=True)
    progress(1_200_000, 2_400_000)
    progress(2_400_000, 2_400_000)
    drawn = capsys.readouterr().err
    assert "1.2 MB of 2.4 MB" in drawn
    assert drawn.endswith("\033[K\n")


def test_the_store_is_opened_late(capsys: pytest.CaptureFixture[str], model: Path) -> None:
    """A folder that cannot be imported is refused before anyone asks for a store."""

    def no_store() -> memory_store.MemoryStore:
        raise errors.StoreUnreachable("asked too early")

    (model / "config.json").unlink()
    assert main.main(import_args(model), open_store=no_store) == 64


@pytest.mark.s3
def test_against_a_real_server(
    s3_server: S3Server,
    bucket: refs.Uri,
    model: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Import, verify and pull work with nothing but the environment of a pod."""
    args = import_args(model, "--json")
    uri = args[3] = f"{bucket}/models/tiny/1"
    assert main.main(args, environ=s3_server.environ()) == 0
    digest = answer(capsys)["digest"]
    for command in (["verify", f"{uri}@{digest}"], ["pull", uri, str(tmp_path / "out")]):
        assert main.main(["artifact", *command], environ=s3_server.environ()) == 0
    assert (tmp_path / "out/model.safetensors").read_bytes() == safetensors([3, 5])
