"""The base model and its adapter: reading, selecting modules, loading in NF4, attaching LoRA.

No code from a model folder runs: no pickle, no remote code, no kernels that a configuration names.
Quantization and adapter follow a `ModuleSelection`, which the preflight applies to the same
architecture without weights before.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, cast

import bitsandbytes
import peft
import torch
import transformers

from mens.api import reasons
from mens.runtime import errors
from mens_trainer import library_errors, recipe

_CODE_KEYS: Final = ("auto_map", "trust_remote_code", "quantization_config")
"""Keys of config.json that name code to run, or an unsupported quantization."""

_KERNEL_KEYS: Final = ("_attn_implementation", "attn_implementation", "use_kernels")
"""Keys of config.json that may name a kernel to download and run."""

_EXPERT_COUNT_KEYS: Final = ("num_experts", "num_local_experts", "n_routed_experts")
"""Keys of a model configuration with the number of experts."""
_ROUTER_NAMES: Final = re.compile(r"(^|\.)(router|gate|\w*expert_gate)(\.|$)")
_ROUTER_CLASSES: Final = re.compile(r"Router|Gating")
"""Names of the modules that route tokens to experts. The width of a layer does not identify them,
since another layer may be as wide as there are experts."""

_MAX_UNADAPTED_SHARE: Final = 0.03
"""Maximum fraction of the parameters in layers that may stay without an adapter: small convolutions
of linear attention are below it, experts are most of a model."""

_MIN_QUANTIZED_SIDE: Final = 64
"""A linear layer with a shorter side is not quantized: it costs little memory, and the 4-bit CPU
kernels need multiples of 32."""


def read_config(folder: Path) -> Any:
    """Return the configuration of a model folder.

    Raises:
        errors.InvalidInputError: It is unreadable, would run code, is already quantized, or has no
            safetensors.
    """
    with library_errors.convert(
        lambda cause: base_model_invalid(f"cannot read config.json ({cause})")
    ):
        raw = json.loads((folder / "config.json").read_bytes())
    if not isinstance(raw, dict):
        raise base_model_invalid("config.json is not a JSON object")
    for key in (*_CODE_KEYS, *_KERNEL_KEYS):
        if raw.get(key):
            raise base_model_invalid(
                f"config.json contains {key!r}, which names code or another quantization"
            )
    if not list(folder.glob("*.safetensors")):
        raise base_model_invalid("it has no *.safetensors file")
    with library_errors.convert(
        lambda cause: base_model_invalid(f"transformers does not accept config.json ({cause})")
    ):
        return transformers.AutoConfig.from_pretrained(
            folder, local_files_only=True, trust_remote_code=False
        )


def read_tokenizer(folder: Path) -> Any:
    """Return the tokenizer of a model folder."""
    with library_errors.convert(
        lambda cause: base_model_invalid(f"cannot read its tokenizer ({cause})")
    ):
        return transformers.AutoTokenizer.from_pretrained(
            folder, local_files_only=True, trust_remote_code=False
        )


def base_model_invalid(cause: str) -> errors.InvalidInputError:
    """Return the error for a base model that cannot be used."""
    return errors.InvalidInputError(
        reasons.BASE_MODEL_INVALID,
        f"the base model is refused: {cause}; import a model in the Hugging Face layout with "
        "safetensors (`mens model import`)",
    )


def build_empty(config: Any) -> torch.nn.Module:
    """Return the model on the meta device, without weights: it needs no memory."""
    with (
        library_errors.convert(
            lambda cause: base_model_invalid(f"cannot build its architecture ({cause})")
        ),
        torch.device("meta"),
    ):
        model = transformers.AutoModelForCausalLM.from_config(config, trust_remote_code=False)
    return cast(torch.nn.Module, model)


@dataclass(frozen=True)
class ModuleSelection:
    """Names of the modules that are quantized and of those that get an adapter."""

    quantized: frozenset[str]
    adapted: frozenset[str]
    unquantized: frozenset[str]
    """Linear modules that are not quantized, including the output head."""

    def target_modules(self) -> list[str]:
        """Return PEFT's `target_modules`: last parts of the names if unambiguous, else names."""
        last = {name.rpartition(".")[2] for name in self.adapted}
        others = (self.quantized | self.unquantized) - self.adapted
        ambiguous = last & {name.rpartition(".")[2] for name in others}
        return sorted(self.adapted if ambiguous else last)


def select_modules(model: Any, plan: recipe.Recipe) -> ModuleSelection:
    """Select every linear layer but the output head and the routers of experts.

    Modules that are not linear layers get no adapter; `check_coverage` refuses a base that consists
    of them.
    """
    head = model.get_output_embeddings()
    linear = {n: m for n, m in model.named_modules() if isinstance(m, torch.nn.Linear)}
    adapted = {n for n, m in linear.items() if m is not head and not _is_router(model, n)}
    quantized = set()
    if plan.quantization:
        quantized = {n for n in adapted if _is_quantizable(linear[n])}
    return ModuleSelection(
        frozenset(quantized), frozenset(adapted), frozenset(set(linear) - quantized)
    )


def _is_router(model: Any, name: str) -> bool:
    """Return whether a module routes tokens to experts, by its name or an enclosing class."""
    config = model.config.get_text_config()
    if not any(getattr(config, key, None) for key in _EXPERT_COUNT_KEYS):
        return False
    parts = name.split(".")
    enclosing = [".".join(parts[: i + 1]) for i in range(len(parts))]
    return _ROUTER_NAMES.search(name) is not None or any(
        _ROUTER_CLASSES.search(type(model.get_submodule(each)).__name__) for each in enclosing
    )


def check_coverage(model: Any, selection: ModuleSelection) -> None:
    """Refuse a base most of whose matrices would stay without an adapter.

    Only linear layers get an adapter: fused experts are 3-D tensors, and some old architectures
    have layer classes of their own. Such a base would train a little and look trained. Embeddings,
    head and routers are never adapted and do not count; neither do vectors.
    """
    head = model.get_output_embeddings()
    matrices = {
        f"{name}.{key}": parameter
        for name, module in model.named_modules()
        if module is not head
        and not isinstance(module, torch.nn.Embedding)
        and not _is_router(model, name)
        for key, parameter in module.named_parameters(recurse=False)
        if parameter.dim() > 1
    }
    unadapted = {n: p for n, p in matrices.items() if n.rpartition(".")[0] not in selection.adapted}
    total, without = (sum(p.numel() for p in some.values()) for some in (matrices, unadapted))
    if without <= _MAX_UNADAPTED_SHARE * total:
        return
    name, largest = max(unadapted.items(), key=lambda item: item[1].numel())
    shape = "×".join(map(str, largest.shape))
    raise base_model_invalid(
        f"{without:,} of its {total:,} parameters in layers ({without / total:.0%}) are in layers "
        f"that do not support an adapter, the largest is {name} ({shape}): mixture-of-experts and "
        "convolutional models are not supported yet, use a dense one"
    )


def _is_quantizable(module: torch.nn.Linear) -> bool:
    shape = (module.in_features, module.out_features)
    return min(shape) >= _MIN_QUANTIZED_SIDE and all(side % 32 == 0 for side in shape)


def load(
    folder: Path,
    selection: ModuleSelection,
    dtype: recipe.ComputeDtype,
    device: str,
) -> Any:
    """Load the base with its weights, quantize the selected modules and freeze everything."""
    quantization = None
    if selection.quantized:
        quantization = transformers.BitsAndBytesConfig(
            load_in_4bit=True,
            bnb_4bit_quant_type="nf4",
            bnb_4bit_use_double_quant=True,
            bnb_4bit_compute_dtype=getattr(torch, dtype),
            llm_int8_skip_modules=sorted(selection.unquantized),
        )
    try:
        with library_errors.convert(_weights_invalid, RuntimeError):
            model, info = transformers.AutoModelForCausalLM.from_pretrained(
                folder,
                dtype=getattr(torch, dtype),
                device_map={"": device},
                quantization_config=quantization,
                attn_implementation="sdpa",
                local_files_only=True,
                trust_remote_code=False,
                use_safetensors=True,
                output_loading_info=True,
            )
    except RuntimeError as e:
        if "mismatch" not in str(e):  # an error of the device, or memory ran out
            raise
        raise base_model_invalid("its weights have other shapes than config.json says") from e
    # transformers initializes these at random and only warns; training on them is meaningless.
    if missing := sorted(map(str, {*info["missing_keys"], *info["mismatched_keys"]})):
        raise base_model_invalid(
            f"{len(missing)} weights are missing or have another shape than config.json says: "
            f"{', '.join(missing[:3])}"
        )
    model.requires_grad_(False)
    model.config.use_cache = False
    return model


def _weights_invalid(cause: str) -> errors.InvalidInputError:
    return base_model_invalid(f"cannot load its weights ({cause})")


def attach_adapter(model: Any, plan: recipe.Recipe, selection: ModuleSelection) -> peft.PeftModel:
    """Attach a new LoRA adapter: A is random from the seed, B is zero, so its output is zero."""
    torch.manual_seed(plan.seed)
    config = peft.LoraConfig(
        r=plan.rank,
        lora_alpha=plan.alpha,
        lora_dropout=plan.dropout,
        target_modules=selection.target_modules(),
        bias="none",
        task_type="CAUSAL_LM",
    )
    return cast(peft.PeftModel, peft.get_peft_model(model, config))


def set_train_mode(model: torch.nn.Module) -> None:
    """Enable dropout."""
    model.train()


def set_eval_mode(model: torch.nn.Module) -> None:
    """Disable dropout, but keep quantized layers in training mode.

    On processors with AVX512-bf16, bitsandbytes repacks a quantized weight at its first forward
    pass in evaluation mode; reading that weight afterwards returns wrong values without an error.
    """
    model.eval()
    for module in model.modules():
        if isinstance(module, bitsandbytes.nn.Linear4bit):
            module.train()
