"""The base model: what it consists of, loading it into NF4, and the adapter on top.

Nothing here runs code from a model's folder: no pickle, no remote code, no kernels named by a
configuration. Quantization and adapter follow `wanted`, which the preflight applied before to the
same architecture without weights; `preflight` compares both.
"""

from __future__ import annotations

import json
import math
import re
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, cast

import bitsandbytes
import peft
import safetensors
import torch
import transformers

from mens.api import reasons
from mens_trainer import errors, recipe

_FORBIDDEN_KEYS: Final = ("auto_map", "trust_remote_code", "quantization_config")
"""Keys of config.json that name code to run, or a quantization that is not ours."""

_KERNEL_KEYS: Final = ("_attn_implementation", "attn_implementation", "use_kernels")
"""Keys of config.json that may name a kernel to be fetched and run."""

BLOCK: Final = 64
"""Values that share one constant in NF4."""
SECOND_BLOCK: Final = 256
"""Constants that share one constant when they are quantized themselves."""

_SMALLEST: Final = 64
"""A linear layer with a shorter side stays as it is: it costs nothing, and the processor's 4-bit
kernels want multiples of 32."""


@dataclass(frozen=True, order=True)
class Part:
    """All modules of one kind and shape, such as every layer's `q_proj`."""

    pattern: str
    """Their names, with `*` for the numbers."""
    kind: str
    """Their class; a quantized Linear is a Linear."""
    count: int
    """How many."""
    parameters: int
    """Parameters of the base in all of them."""
    quantized: bool
    """Whether they are held in NF4 with double quantization."""
    adapted: bool
    """Whether they have an adapter."""
    trainable: int
    """Parameters of the adapters."""
    size: int
    """Bytes of the base's parameters as they are held."""


def read_config(folder: Path) -> Any:
    """The configuration of a model folder; refuses what would run code or is quantized already."""
    try:
        raw = json.loads((folder / "config.json").read_bytes())
    except (OSError, ValueError) as e:
        raise refuse(f"config.json cannot be read ({type(e).__name__})") from e
    if not isinstance(raw, dict):
        raise refuse("config.json is not a JSON object")
    for key in (*_FORBIDDEN_KEYS, *_KERNEL_KEYS):
        if raw.get(key):
            raise refuse(f"config.json has {key!r}, which names code or another quantization")
    if not list(folder.glob("*.safetensors")):
        raise refuse("no *.safetensors file")
    try:
        return transformers.AutoConfig.from_pretrained(
            folder, local_files_only=True, trust_remote_code=False
        )
    except (ValueError, KeyError, TypeError, OSError) as e:
        raise refuse(f"config.json is not understood: {str(e)[:300]}") from e


def read_tokenizer(folder: Path) -> Any:
    """The tokenizer of a model folder."""
    try:
        return transformers.AutoTokenizer.from_pretrained(
            folder, local_files_only=True, trust_remote_code=False
        )
    except (ValueError, KeyError, TypeError, OSError) as e:
        raise refuse(f"the tokenizer cannot be read: {str(e)[:300]}") from e


def refuse(why: str) -> errors.InputWrong:
    """The base cannot be used."""
    return errors.InputWrong(
        reasons.BASE_MODEL_INVALID,
        f"the base model is refused: {why}; import a model in the Hugging Face layout with "
        "safetensors (`mens convert` makes one from GGUF, `mens model import` publishes it)",
    )


def skeleton(config: Any) -> torch.nn.Module:
    """The architecture without weights: costs no memory, whatever its size."""
    try:
        with torch.device("meta"):
            model = transformers.AutoModelForCausalLM.from_config(config, trust_remote_code=False)
    except (ValueError, KeyError, TypeError, AttributeError) as e:
        raise refuse(f"its architecture cannot be built: {str(e)[:300]}") from e
    return cast(torch.nn.Module, model)


@dataclass(frozen=True)
class Wanted:
    """Which modules are quantized and which get an adapter, by name."""

    quantized: frozenset[str]
    adapted: frozenset[str]
    plain: frozenset[str]
    """Linear modules that stay as they are, the head among them."""

    def targets(self) -> list[str]:
        """The adapted modules for PEFT: last parts of their names where those are unambiguous."""
        last = {name.rpartition(".")[2] for name in self.adapted}
        others = (self.quantized | self.plain) - self.adapted
        ambiguous = last & {name.rpartition(".")[2] for name in others}
        return sorted(self.adapted if ambiguous else last)


def wanted(model: Any, plan: recipe.Recipe) -> Wanted:
    """Every linear layer gets an adapter but the head and the routers of experts."""
    head = model.get_output_embeddings()
    experts = getattr(model.config, "num_experts", None) or getattr(
        model.config, "num_local_experts", None
    )
    linear = {n: m for n, m in model.named_modules() if isinstance(m, torch.nn.Linear)}
    routers = {n for n, m in linear.items() if experts and m.out_features in (experts, 1)}
    adapted = {n for n, m in linear.items() if m is not head and n not in routers}
    quantized = set()
    if plan.quantization:
        quantized = {n for n in adapted if _quantizable(linear[n])}
    return Wanted(frozenset(quantized), frozenset(adapted), frozenset(set(linear) - quantized))


def _quantizable(module: torch.nn.Linear) -> bool:
    shape = (module.in_features, module.out_features)
    return min(shape) >= _SMALLEST and all(side % 32 == 0 for side in shape)


def planned_parts(
    model: torch.nn.Module, want: Wanted, plan: recipe.Recipe, dtype: recipe.ComputeDtype
) -> list[Part]:
    """The parts as they will be after loading, computed from the architecture alone."""
    width = getattr(torch, dtype).itemsize

    def one(name: str, module: torch.nn.Module, own: list[torch.Tensor]) -> Part:
        sizes = [p.numel() for p in own]
        quantized = name in want.quantized
        weight = quantized_bytes(sizes[0]) if quantized else sizes[0] * width
        trainable = 0
        if name in want.adapted:
            linear = cast(torch.nn.Linear, module)
            trainable = plan.rank * (linear.in_features + linear.out_features)
        size = weight + sum(sizes[1:]) * width
        kind, parameters = type(module).__name__, sum(sizes)
        return Part(name, kind, 1, parameters, quantized, trainable > 0, trainable, size)

    return _grouped(one(*each) for each in _owners(model))


def loaded_parts(model: peft.PeftModel) -> list[Part]:
    """The parts as they are in memory."""

    def one(name: str, module: torch.nn.Module, own: list[torch.Tensor]) -> Part:
        sizes = [p.numel() for p in own]
        stored = sum(p.numel() * p.element_size() for p in own)
        kind, quantized = type(module).__name__, False
        if isinstance(module, bitsandbytes.nn.Linear4bit):
            kind = "Linear"
            state = module.weight.quant_state
            sizes[0] = math.prod(state.shape)
            # nested: the block constants are quantized too.
            quantized = state.quant_type == "nf4" and state.nested
            stored += state.absmax.nbytes + (state.state2.absmax.nbytes if state.nested else 0)
        trainable = adapters.get(name, 0)
        return Part(name, kind, 1, sum(sizes), quantized, trainable > 0, trainable, stored)

    base = model.get_base_model()
    adapters: dict[str, int] = {}
    for name, parameter in base.named_parameters():
        if parameter.requires_grad:
            owner = name.partition(".lora_")[0]
            adapters[owner] = adapters.get(owner, 0) + parameter.numel()
    owners = (
        (name.removesuffix(".base_layer"), module, own)
        for name, module, own in _owners(base)
        if ".lora_" not in name
    )
    return _grouped(one(*each) for each in owners)


def quantized_bytes(parameters: int) -> int:
    """Bytes of a matrix in NF4 with double quantization: 4.127 bit a parameter."""
    blocks = math.ceil(parameters / BLOCK)
    return math.ceil(parameters / 2) + blocks + 4 * math.ceil(blocks / SECOND_BLOCK)


def _owners(model: torch.nn.Module) -> Iterator[tuple[str, torch.nn.Module, list[torch.Tensor]]]:
    """Modules that hold parameters of their own; a tied one belongs to whoever comes first."""
    seen: set[int] = set()
    for name, module in model.named_modules():
        own = [p for p in module.parameters(recurse=False) if id(p) not in seen]
        seen.update(id(p) for p in own)
        if own:
            yield name, module, list(own)


def _grouped(parts: Iterator[Part]) -> list[Part]:
    groups: dict[tuple[object, ...], Part] = {}
    for part in parts:
        pattern = re.sub(r"(?<=\.)\d+(?=\.|$)", "*", part.pattern)
        key = (pattern, part.kind, part.quantized, part.adapted)
        old = groups.get(key) or Part(pattern, part.kind, 0, 0, *key[2:], 0, 0)
        groups[key] = Part(
            pattern,
            part.kind,
            old.count + 1,
            old.parameters + part.parameters,
            part.quantized,
            part.adapted,
            old.trainable + part.trainable,
            old.size + part.size,
        )
    return sorted(groups.values())


def load(
    folder: Path, plan: recipe.Recipe, want: Wanted, dtype: recipe.ComputeDtype, device: str
) -> Any:
    """The base with its weights, quantized by `want`, frozen."""
    settings = None
    if want.quantized:
        settings = transformers.BitsAndBytesConfig(
            load_in_4bit=True,
            bnb_4bit_quant_type="nf4",
            bnb_4bit_use_double_quant=True,
            bnb_4bit_compute_dtype=getattr(torch, dtype),
            llm_int8_skip_modules=sorted(want.plain),
        )
    try:
        model, info = transformers.AutoModelForCausalLM.from_pretrained(
            folder,
            dtype=getattr(torch, dtype),
            device_map={"": device},
            quantization_config=settings,
            attn_implementation="sdpa",
            local_files_only=True,
            trust_remote_code=False,
            use_safetensors=True,
            output_loading_info=True,
        )
    except (ValueError, KeyError, OSError, safetensors.SafetensorError) as e:
        raise refuse(f"its weights cannot be loaded: {str(e)[:300]}") from e
    except RuntimeError as e:
        if "mismatch" not in str(e):  # what remains may be memory that ran out
            raise
        raise refuse("its weights have other shapes than config.json says") from e
    # transformers fills these with random numbers and warns; training on them would be nonsense.
    if lacking := sorted(map(str, {*info["missing_keys"], *info["mismatched_keys"]})):
        raise refuse(
            f"{len(lacking)} weights are missing or have another shape than config.json says: "
            f"{', '.join(lacking[:3])}"
        )
    model.requires_grad_(False)
    model.config.use_cache = False
    return model


def adapt(model: Any, plan: recipe.Recipe, want: Wanted) -> peft.PeftModel:
    """Put a fresh adapter on the base: A from the seed, B zero, so nothing changes at first."""
    torch.manual_seed(plan.seed)
    settings = peft.LoraConfig(
        r=plan.rank,
        lora_alpha=plan.alpha,
        lora_dropout=plan.dropout,
        target_modules=want.targets(),
        bias="none",
        task_type="CAUSAL_LM",
    )
    return cast(peft.PeftModel, peft.get_peft_model(model, settings))


def train_mode(model: torch.nn.Module) -> None:
    """Switch dropout on."""
    model.train()


def evaluation_mode(model: torch.nn.Module) -> None:
    """Switch dropout off, and leave quantized layers in training mode.

    On processors with AVX512-bf16, bitsandbytes repacks a quantized weight at its first forward
    in evaluation mode; what is read from it afterwards is wrong without an error.
    """
    model.eval()
    for module in model.modules():
        if isinstance(module, bitsandbytes.nn.Linear4bit):
            module.train()


def fastest_dtype(device: str, width: int, inner: int) -> recipe.ComputeDtype:
    """What matrices are multiplied in, by measuring where it depends on the processor.

    bfloat16 is 22 times slower than float32 on a processor with AVX2 only, and 1.5 times faster
    on one with AVX512-bf16: the difference is too large for taste. Accelerators take bfloat16.
    """
    if device != "cpu":
        return "bfloat16" if torch.cuda.is_bf16_supported() else "float32"
    names: tuple[recipe.ComputeDtype, recipe.ComputeDtype] = ("float32", "bfloat16")
    return min(names, key=lambda name: _matmul_seconds(getattr(torch, name), width, inner))


def _matmul_seconds(dtype: torch.dtype, width: int, inner: int) -> float:
    left, right = torch.ones(128, width, dtype=dtype), torch.ones(width, inner, dtype=dtype)
    best = math.inf
    for _ in range(3):
        begin = time.perf_counter()
        left @ right
        best = min(best, time.perf_counter() - begin)
    return best
