"""What is refused before a tensor is read: pickles, torn files, unknown configuration keys.

Everything here looks at names, sizes and JSON only. A key that is not on the list below is refused
and not dropped: an unknown key may change what the model computes, and some keys make a loader run
code from the folder or fetch it from a hub.
"""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any, Final

from mens.api import reasons
from mens.artifacts import names
from mens.runtime import errors

ARCHITECTURES: Final = frozenset(
    {"LlamaForCausalLM", "MistralForCausalLM", "Qwen2ForCausalLM", "Qwen3ForCausalLM"}
)
"""Architectures whose attention this server computes and tests against Hugging Face's own."""

BASE_KEYS: Final = frozenset(
    {
        "architectures",
        "attention_bias",
        "attention_dropout",
        "bos_token_id",
        "dtype",
        "eos_token_id",
        "head_dim",
        "hidden_act",
        "hidden_size",
        "initializer_range",
        "intermediate_size",
        "layer_types",
        "max_position_embeddings",
        "max_window_layers",
        "mlp_bias",
        "model_type",
        "num_attention_heads",
        "num_hidden_layers",
        "num_key_value_heads",
        "pad_token_id",
        "pretraining_tp",
        "rms_norm_eps",
        "rope_parameters",
        "rope_scaling",
        "rope_theta",
        "sliding_window",
        "tie_word_embeddings",
        "torch_dtype",
        "unk_token_id",
        "use_sliding_window",
        "vocab_size",
    }
)
"""Keys of config.json that reach the model's configuration."""

BASE_KEYS_WITHOUT_EFFECT: Final = frozenset(
    {
        "_model_name_or_path",
        "_name_or_path",
        "chunk_size_feed_forward",
        "id2label",
        "is_encoder_decoder",
        "is_llama_config",
        "label2id",
        "output_attentions",
        "output_hidden_states",
        "problem_type",
        "return_dict",
        "rope_interleaved",
        "transformers.js_config",
        "transformers_version",
        "use_cache",
    }
)
"""Keys that real models carry and that change nothing here; they are left out."""

_JSON_LIMIT: Final = 4 << 20
_HEADER_LIMIT: Final = 100 << 20  # The limit of the safetensors format itself.
_CODE_KEYS: Final = frozenset({"auto_map", "trust_remote_code", "custom_pipelines"})


class InvalidModelError(errors.InvalidInputError):  # the decision, with its reason
    """A folder is not loaded."""


def check_base(folder: Path) -> dict[str, Any]:
    """Check a model folder and return the configuration that may be given to the model."""
    check_files(folder, reasons.BASE_MODEL_INVALID)
    config = read_json(folder / "config.json", reasons.BASE_MODEL_INVALID)
    for name in ("tokenizer_config.json", "generation_config.json"):
        if (folder / name).exists():
            reject_custom_code(read_json(folder / name, reasons.BASE_MODEL_INVALID), name)
    reject_custom_code(config, "config.json")
    unknown = sorted(config.keys() - BASE_KEYS - BASE_KEYS_WITHOUT_EFFECT)
    if unknown:
        raise InvalidModelError(
            reasons.BASE_MODEL_INVALID,
            f"config.json has the key {unknown[0]!r}, which this server does not know; import a "
            f"model of one of these architectures: {', '.join(sorted(ARCHITECTURES))}.",
        )
    architectures = config.get("architectures")
    if not (isinstance(architectures, list) and len(architectures) == 1):
        raise InvalidModelError(
            reasons.BASE_MODEL_INVALID, "config.json must name one architecture."
        )
    if architectures[0] not in ARCHITECTURES:
        raise InvalidModelError(
            reasons.BASE_MODEL_INVALID,
            f"This server does not know the architecture {architectures[0]!r}; it knows "
            f"{', '.join(sorted(ARCHITECTURES))}.",
        )
    return {key: value for key, value in config.items() if key in BASE_KEYS}


def check_files(folder: Path, reason: str) -> None:
    """Refuse pickles by name and safetensors whose header does not fit the file."""
    for path in sorted(folder.rglob("*")):
        if path.is_symlink():
            raise InvalidModelError(reason, f"{path.name} is a link; publish plain files.")
        if names.is_pickle(path.name):
            raise InvalidModelError(
                reasons.PICKLE_REFUSED,
                f"{path.name} is a pickle, which can run code when it is opened: convert the "
                "weights to safetensors and publish them again.",
            )
        if path.suffix == ".safetensors":
            check_safetensors(path, reason)


def check_safetensors(path: Path, reason: str) -> None:
    """Compare the header of a safetensors file with its size: no gap, no overlap, no tail."""
    size = path.stat().st_size
    with path.open("rb") as file:
        prefix = file.read(8)
        length = struct.unpack("<Q", prefix)[0] if len(prefix) == 8 else -1
        if not 2 <= length <= min(size - 8, _HEADER_LIMIT):
            raise InvalidModelError(
                reason, f"{path.name} is torn: its header does not fit the file."
            )
        header = file.read(length)
    try:
        tensors = json.loads(header)
        offsets = sorted(
            tuple(int(offset) for offset in tensor["data_offsets"])
            for name, tensor in tensors.items()
            if name != "__metadata__"
        )
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise InvalidModelError(
            reason, f"{path.name} does not have a valid safetensors header."
        ) from error
    end = 0
    for start, stop in offsets:
        if start != end or stop < start:
            raise InvalidModelError(reason, f"{path.name} has tensors that overlap or leave gaps.")
        end = stop
    if end != size - 8 - length:
        raise InvalidModelError(
            reason,
            f"{path.name} is torn: its header describes {end} bytes of tensors and the file holds "
            f"{size - 8 - length}.",
        )


def read_json(path: Path, reason: str) -> dict[str, Any]:
    """Read a JSON object of bounded size."""
    try:
        if path.stat().st_size > _JSON_LIMIT:
            raise InvalidModelError(reason, f"{path.name} is larger than {_JSON_LIMIT} bytes.")
        value = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        raise InvalidModelError(reason, f"{path.name} is missing or no JSON.") from error
    if not isinstance(value, dict):
        raise InvalidModelError(reason, f"{path.name} is not a JSON object.")
    return value


def reject_custom_code(
    config: dict[str, Any], name: str, reason: str = reasons.BASE_MODEL_INVALID
) -> None:
    """Refuse keys that make a loader run code of the folder."""
    for key in sorted(_CODE_KEYS & config.keys()):
        raise InvalidModelError(
            reason,
            f"{name} has the key {key!r}, which would run code of the folder: remove it, the "
            "architectures of this server need none.",
        )
