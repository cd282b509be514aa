"""Loading a base model: NF4 with double quantization, and refusing unusable model folders."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import bitsandbytes
import peft
import pytest
import torch
import transformers

from mens.api import reasons
from mens.runtime import errors
from mens_trainer import dtypes, inspection, model, module_table, recipe
from tests.support import models

pytestmark = pytest.mark.model

PLAN = recipe.Recipe(rank=4, alpha=8)


def _load(folder: Path, plan: recipe.Recipe = PLAN) -> tuple[Any, model.ModuleSelection]:
    selection = model.select_modules(model.build_empty(model.read_config(folder)), plan)
    return model.load(folder, selection, "float32", "cpu"), selection


@pytest.mark.parametrize("family", models.FAMILIES)
def test_every_linear_layer_is_in_nf4_with_double_quantization(family: str, tmp_path: Path) -> None:
    """All but the head: 7 in each of 2 layers, with quantized block constants, frozen."""
    loaded, selection = _load(models.tiny(tmp_path, family=family))
    quantized = [m for m in loaded.modules() if isinstance(m, bitsandbytes.nn.Linear4bit)]
    assert len(quantized) == 14 == len(selection.quantized)
    for module in quantized:
        state = module.weight.quant_state
        assert module.weight.dtype == torch.uint8
        assert (state.quant_type, state.nested, state.blocksize) == (
            "nf4",
            True,
            module_table.BLOCK_SIZE,
        )
        assert module.weight.compress_statistics
        assert state.absmax.dtype == torch.uint8
    assert not any(p.requires_grad for p in loaded.parameters())
    assert not isinstance(loaded.get_output_embeddings(), bitsandbytes.nn.Linear4bit)


@pytest.mark.parametrize("quantization", ["Nf4Double", None])
@pytest.mark.parametrize("family", models.FAMILIES)
def test_the_planned_module_table_equals_the_loaded_one(
    family: str, quantization: Any, tmp_path: Path
) -> None:
    """Computed from the configuration alone, and correct to the byte."""
    folder = models.tiny(tmp_path, family=family, tie_word_embeddings=family == "llama")
    plan = recipe.Recipe(rank=4, quantization=quantization)
    empty = model.build_empty(model.read_config(folder))
    assert all(p.is_meta for p in empty.parameters())
    planned = inspection.planned_modules(empty, model.select_modules(empty, plan), plan, "float32")
    loaded, selection = _load(folder, plan)
    assert inspection.loaded_modules(model.attach_adapter(loaded, plan, selection)) == planned
    assert sum(p.count for p in planned if p.quantized) == (14 if quantization else 0)


def test_target_modules_are_short_if_unambiguous() -> None:
    """Last parts of names, unless they also match a module that must not be adapted."""
    short = model.ModuleSelection(frozenset(), frozenset({"a.0.q", "a.1.q"}), frozenset({"head"}))
    assert short.target_modules() == ["q"]
    ambiguous = model.ModuleSelection(frozenset(), frozenset({"a.0.q"}), frozenset({"b.q"}))
    assert ambiguous.target_modules() == ["a.0.q"]


def test_narrow_layers_are_adapted_but_not_quantized(tmp_path: Path) -> None:
    """The 4-bit kernels need multiples of 32."""
    folder = models.tiny(tmp_path, num_key_value_heads=1)
    loaded, selection = _load(folder)
    narrow = {n for n, m in loaded.named_modules() if n.endswith(("k_proj", "v_proj"))}
    assert len(narrow) == 4
    assert not narrow & selection.quantized
    assert narrow <= selection.adapted


def test_eval_mode_keeps_quantized_layers_in_training_mode(base: Path) -> None:
    """On some processors bitsandbytes repacks weights at a forward pass in evaluation mode."""
    loaded, selection = _load(base)
    causal = model.attach_adapter(loaded, recipe.Recipe(rank=4, dropout=0.5), selection)
    model.set_eval_mode(causal)
    for module in causal.modules():
        if isinstance(module, bitsandbytes.nn.Linear4bit):
            assert module.training
        if isinstance(module, torch.nn.Dropout):
            assert not module.training


def test_the_adapter_folder_loads_with_peft(base: Path, tmp_path: Path) -> None:
    """With equal logits on a base in the same quantization."""
    loaded, selection = _load(base)
    causal = model.attach_adapter(loaded, PLAN, selection)
    torch.manual_seed(8)
    for name, parameter in causal.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.1)
    model.set_eval_mode(causal)
    causal.save_pretrained(tmp_path, safe_serialization=True)
    assert not list(tmp_path.glob("*.bin"))
    other = peft.PeftModel.from_pretrained(_load(base)[0], tmp_path)
    model.set_eval_mode(other)
    ids = torch.tensor([[1, 20, 30, 40, 2]])
    with torch.no_grad():
        expected, found = causal(input_ids=ids).logits, other(input_ids=ids).logits
        plain = _load(base)[0](input_ids=ids).logits
    assert torch.equal(found, expected)
    assert float((plain - expected).abs().max()) > 1e-3


def test_a_new_adapter_does_not_change_the_logits(base: Path) -> None:
    """B is zero: the loss before training is the base's own."""
    loaded, selection = _load(base)
    ids = torch.tensor([[1, 20, 30, 40, 2]])
    with torch.no_grad():
        expected = loaded(input_ids=ids).logits
        assert torch.equal(
            model.attach_adapter(loaded, PLAN, selection)(input_ids=ids).logits, expected
        )


@pytest.mark.parametrize(
    "change",
    [
        {"auto_map": {"AutoModelForCausalLM": "evil.Model"}},
        {"_attn_implementation": "someone/kernel"},
        {"quantization_config": {"quant_method": "gptq"}},
        {"model_type": "unheard-of"},
        {"hidden_size": "64"},
        {"hidden_size": None},
        {"num_attention_heads": 0},
        {"dtype": "nope"},
        {"vocab_size": -1},
        {"hidden_act": "nope"},
        {"rope_parameters": 7},
    ],
)
def test_a_config_that_names_code_or_is_invalid_is_refused(
    change: dict[str, Any], base: Path, tmp_path: Path
) -> None:
    """As BaseModelInvalid, whatever error the libraries raise."""
    folder = shutil.copytree(base, tmp_path / "base")
    config = json.loads((folder / "config.json").read_text()) | change
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(errors.InvalidInputError, match="refused") as caught:
        model.build_empty(model.read_config(folder))
    assert caught.value.reason == reasons.BASE_MODEL_INVALID


@pytest.mark.parametrize("name", ["config.json", "model.safetensors"])
def test_a_folder_without_a_required_file_is_refused(name: str, base: Path, tmp_path: Path) -> None:
    """Without configuration or safetensors."""
    folder = shutil.copytree(base, tmp_path / "base")
    (folder / name).unlink()
    with pytest.raises(errors.InvalidInputError) as caught:
        model.read_config(folder)
    assert caught.value.reason == reasons.BASE_MODEL_INVALID


@pytest.mark.parametrize(
    "text",
    ['{"a": 1}', '{"version":', '{"version": "1.0", "model": {"type": "NewThing"}}'],
)
def test_an_invalid_tokenizer_is_refused(text: str, base: Path, tmp_path: Path) -> None:
    """Also if the library raises a plain Exception."""
    folder = shutil.copytree(base, tmp_path / "base")
    (folder / "tokenizer.json").write_text(text)
    with pytest.raises(errors.InvalidInputError, match="tokenizer") as caught:
        model.read_tokenizer(folder)
    assert caught.value.reason == reasons.BASE_MODEL_INVALID


def test_damaged_weights_are_refused(base: Path, tmp_path: Path) -> None:
    """The message names the weights as the cause."""
    folder = shutil.copytree(base, tmp_path / "base")
    (folder / "model.safetensors").write_bytes(b"\xff" * 200)
    with pytest.raises(errors.InvalidInputError, match="weights"):
        _load(folder)


@pytest.mark.parametrize(
    ("change", "message"), [({"num_hidden_layers": 3}, "missing"), ({"hidden_size": 96}, "shapes")]
)
def test_missing_or_mismatched_weights_are_refused(
    change: dict[str, int], message: str, base: Path, tmp_path: Path
) -> None:
    """transformers initializes missing tensors at random."""
    folder = shutil.copytree(base, tmp_path / "base")
    config = json.loads((folder / "config.json").read_text()) | change
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(errors.InvalidInputError, match=message):
        _load(folder)


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [([1.0, 0.5], "bfloat16"), ([1.0, 0.95], "float32"), ([1.0, 22.0], "float32")],
)
def test_bfloat16_must_be_clearly_faster(
    seconds: list[float], expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If both are about equal, the dtype is float32, so that another attempt chooses it too."""
    assert dtypes.fastest("cpu", 64, 128) in ("float32", "bfloat16")
    monkeypatch.setattr(dtypes, "_matmul_seconds", lambda *_: seconds)
    assert dtypes.fastest("cpu", 64, 128) == expected


MOE_SHAPE: dict[str, Any] = {
    "vocab_size": 320, "hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2,
    "num_attention_heads": 2, "num_key_value_heads": 2, "moe_intermediate_size": 64,
    "num_experts": 8, "num_experts_per_tok": 2,
}  # fmt: skip


def test_a_mixture_of_experts_is_refused() -> None:
    """With the share that would not be adapted, instead of training its attention alone."""
    empty = model.build_empty(transformers.Qwen3MoeConfig(**MOE_SHAPE, head_dim=32))
    with pytest.raises(
        errors.InvalidInputError, match=r"196,608 of its 229,376.*86%.*experts"
    ) as caught:
        model.check_coverage(empty, model.select_modules(empty, PLAN))
    assert caught.value.reason == reasons.BASE_MODEL_INVALID


@pytest.mark.parametrize("kind", ["Qwen3Config", "Gemma3TextConfig", "Phi3Config", "Lfm2Config"])
def test_dense_models_are_accepted(kind: str) -> None:
    """Norms, embeddings, head and small convolutions may stay without an adapter."""
    shape = {k: v for k, v in MOE_SHAPE.items() if "exp" not in k and "moe" not in k}
    empty = model.build_empty(getattr(transformers, kind)(**shape, pad_token_id=0))
    model.check_coverage(empty, model.select_modules(empty, PLAN))


def test_routers_are_recognized_by_name_and_not_by_width() -> None:
    """A layer as wide as there are experts is adapted; the gate of the shared expert is not."""
    config = transformers.Qwen2MoeConfig(**MOE_SHAPE | {"num_experts": 64})
    adapted = model.select_modules(model.build_empty(config), PLAN).adapted
    assert "model.layers.0.self_attn.q_proj" in adapted
    assert "model.layers.0.mlp.shared_expert.gate_proj" in adapted
    assert "model.layers.0.mlp.shared_expert_gate" not in adapted


def test_transformers_is_offline(base: Path) -> None:
    """Reading a tokenizer does not use a hub."""
    assert transformers.utils.hub.is_offline_mode()
    model.read_tokenizer(base)
