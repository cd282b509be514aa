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
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, cast

import bitsandbytes
import peft
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

_EXPERTS: Final = ("num_experts", "num_local_experts", "n_routed_experts")
"""Keys of a configuration that say how many experts there are."""
_ROUTER_NAMES: Final = re.compile(r"(^|\.)(router|gate|\w*expert_gate)(\.|$)")
_ROUTER_CLASSES: Final = re.compile(r"Router|Gating")
"""How modules are called that choose among experts; such a layer's width says nothing, since
another one may be as wide as there are experts."""

_MOST_BARE: Final = 0.03
"""Largest share of the parameters in layers that may stay without an adapter: small convolutions
of linear attention are below it, experts are most of a model."""

_REPETITIONS: Final = 20
"""Measurements of each dtype; milliseconds in all."""
_CLEARLY: Final = 0.9
"""bfloat16 must take less than this share of float32's time: between equals float32 is the choice
that another attempt makes too."""

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
    with errors.blamed(lambda words: refuse(f"config.json cannot be read ({words})")):
        raw = json.loads((folder / "config.json").read_bytes())
    if not isinstance(raw, dict):
        raise refuse("config.json is not a JSON object")
    for key in (*_FORBIDDEN_KEYS, *_KERNEL_KEYS):
        if raw.get(key):
            raise refuse(f"config.json has {key!r}, which names code or another quantization")
    if not list(folder.glob("*.safetensors")):
        raise refuse("no *.safetensors file")
    with errors.blamed(lambda words: refuse(f"config.json is not understood ({words})")):
        return transformers.AutoConfig.from_pretrained(
            folder, local_files_only=True, trust_remote_code=False
        )


def read_tokenizer(folder: Path) -> Any:
    """The tokenizer of a model folder."""
    with errors.blamed(lambda words: refuse(f"its tokenizer cannot be read ({words})")):
        return transformers.AutoTokenizer.from_pretrained(
            folder, local_files_only=True, trust_remote_code=False
        )


def refuse(why: str) -> errors.InputWrong:
    """The base cannot be used."""
    return errors.InputWrong(
        reasons.BASE_MODEL_INVALID,
        f"the base model is refused: {why}; import a model in the Hugging Face layout with "
        "safetensors (`mens convert` makes one from GGUF, `mens model import` publishes it)",
    )


def skeleton(config: Any) -> torch.nn.Module:
    """The architecture without weights: costs no memory, whatever its size."""
    with (
        errors.blamed(lambda words: refuse(f"its architecture cannot be built ({words})")),
        torch.device("meta"),
    ):
        model = transformers.AutoModelForCausalLM.from_config(config, trust_remote_code=False)
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
    """Every linear layer gets an adapter but the head and the routers of experts.

    What is no linear layer gets none; `check_coverage` refuses a base that consists of such.
    """
    head = model.get_output_embeddings()
    linear = {n: m for n, m in model.named_modules() if isinstance(m, torch.nn.Linear)}
    adapted = {n for n, m in linear.items() if m is not head and not _routes(model, n)}
    quantized = set()
    if plan.quantization:
        quantized = {n for n in adapted if _quantizable(linear[n])}
    return Wanted(frozenset(quantized), frozenset(adapted), frozenset(set(linear) - quantized))


def _routes(model: Any, name: str) -> bool:
    """Whether a module chooses among experts, by its name or by a class around it."""
    config = model.config.get_text_config()
    if not any(getattr(config, key, None) for key in _EXPERTS):
        return False
    parts = name.split(".")
    around = [".".join(parts[: i + 1]) for i in range(len(parts))]
    return _ROUTER_NAMES.search(name) is not None or any(
        _ROUTER_CLASSES.search(type(model.get_submodule(each)).__name__) for each in around
    )


def check_coverage(model: Any, want: Wanted) -> None:
    """Refuse a base whose matrices would mostly stay without an adapter.

    Only linear layers get one: fused experts are 3-D tensors, and some old architectures have
    layers of their own. Such a base would train a little and look trained. Embeddings, head and
    routers stay as they are in every base and do not count; neither do vectors.
    """
    head = model.get_output_embeddings()
    matrices = {
        f"{name}.{key}": parameter
        for name, module in model.named_modules()
        if module is not head
        and not isinstance(module, torch.nn.Embedding)
        and not _routes(model, name)
        for key, parameter in module.named_parameters(recurse=False)
        if parameter.dim() > 1
    }
    bare = {n: p for n, p in matrices.items() if n.rpartition(".")[0] not in want.adapted}
    total, without = (sum(p.numel() for p in some.values()) for some in (matrices, bare))
    if without <= _MOST_BARE * total:
        return
    name, largest = max(bare.items(), key=lambda item: item[1].numel())
    shape = "×".join(map(str, largest.shape))
    raise refuse(
        f"{without:,} of its {total:,} parameters in layers ({without / total:.0%}) are in layers "
        f"that cannot be adapted yet, the largest {name} ({shape}): mixture-of-experts and "
        "convolutional bases train in part only, take a dense one"
    )


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
        with errors.blamed(_unloadable, RuntimeError):
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
    except RuntimeError as e:
        if "mismatch" not in str(e):  # what remains is the device's trouble, or memory
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


def _unloadable(words: str) -> errors.InputWrong:
    return refuse(f"its weights cannot be loaded ({words})")


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
    single, half = _matmul_seconds(width, inner, (torch.float32, torch.bfloat16))
    return "bfloat16" if half < _CLEARLY * single else "float32"


def _matmul_seconds(width: int, inner: int, dtypes: Sequence[torch.dtype]) -> list[float]:
    """Least seconds of a product [128, width] × [width, inner] in each dtype.

    Taken in turns after a warm-up, so that a neighbor's burst meets all dtypes alike: the choice
    is part of the preflight's digest.
    """
    pairs = [(torch.ones(128, width, dtype=d), torch.ones(width, inner, dtype=d)) for d in dtypes]
    best = [math.inf] * len(pairs)
    for turn in range(_REPETITIONS + 1):
        for i, (left, right) in enumerate(pairs):
            begin = time.perf_counter()
            left @ right
            if turn:
                best[i] = min(best[i], time.perf_counter() - begin)
    return best
