"""Loading: NF4 with double quantization is really there, and nothing else is let in."""

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
from mens_trainer import errors, model, recipe
from tests.support import models

pytestmark = pytest.mark.model

PLAN = recipe.Recipe(rank=4, alpha=8)


def _load(folder: Path, plan: recipe.Recipe = PLAN) -> tuple[Any, model.Wanted]:
    want = model.wanted(model.skeleton(model.read_config(folder)), plan)
    return model.load(folder, plan, want, "float32", "cpu"), want


@pytest.mark.parametrize("family", models.FAMILIES)
def test_every_linear_layer_is_in_nf4_with_double_quantization(family: str, tmp_path: Path) -> None:
    """All of them but the head: 7 in each of 2 layers, block constants quantized too, frozen."""
    loaded, want = _load(models.tiny(tmp_path, family=family))
    found = [m for m in loaded.modules() if isinstance(m, bitsandbytes.nn.Linear4bit)]
    assert len(found) == 14 == len(want.quantized)
    for module in found:
        state = module.weight.quant_state
        assert module.weight.dtype == torch.uint8
        assert (state.quant_type, state.nested, state.blocksize) == ("nf4", True, model.BLOCK)
        assert module.weight.compress_statistics
        assert state.absmax.dtype == torch.uint8
    assert not any(p.requires_grad for p in loaded.parameters())
    assert not isinstance(loaded.get_output_embeddings(), bitsandbytes.nn.Linear4bit)


@pytest.mark.parametrize("quantization", ["Nf4Double", None])
@pytest.mark.parametrize("family", models.FAMILIES)
def test_the_plan_is_what_lies_in_memory(family: str, quantization: Any, tmp_path: Path) -> None:
    """The table from the configuration alone equals the table of the loaded model, to the byte."""
    folder = models.tiny(tmp_path, family=family, tie_word_embeddings=family == "llama")
    plan = recipe.Recipe(rank=4, quantization=quantization)
    empty = model.skeleton(model.read_config(folder))
    assert all(p.is_meta for p in empty.parameters())
    planned = model.planned_parts(empty, model.wanted(empty, plan), plan, "float32")
    loaded, want = _load(folder, plan)
    assert model.loaded_parts(model.adapt(loaded, plan, want)) == planned
    assert sum(p.count for p in planned if p.quantized) == (14 if quantization else 0)


def test_quantization_costs_little_more_than_four_bits() -> None:
    """4.127 bits a parameter."""
    assert 8 * model.quantized_bytes(2**24) / 2**24 == pytest.approx(4.127, abs=0.001)


def test_targets_are_short_where_they_can_be() -> None:
    """Last parts of names, unless they would hit a module that must stay as it is."""
    short = model.Wanted(frozenset(), frozenset({"a.0.q", "a.1.q"}), frozenset({"head"}))
    assert short.targets() == ["q"]
    clash = model.Wanted(frozenset(), frozenset({"a.0.q"}), frozenset({"b.q"}))
    assert clash.targets() == ["a.0.q"]


def test_narrow_layers_stay_as_they_are(tmp_path: Path) -> None:
    """They get an adapter, and keep their precision: 4-bit kernels want multiples of 32."""
    folder = models.tiny(tmp_path, num_key_value_heads=1)
    loaded, want = _load(folder)
    narrow = {n for n, m in loaded.named_modules() if n.endswith(("k_proj", "v_proj"))}
    assert len(narrow) == 4
    assert not narrow & want.quantized
    assert narrow <= want.adapted


def test_evaluation_leaves_quantized_layers_in_training_mode(base: Path) -> None:
    """bitsandbytes repacks weights at a forward in evaluation mode on some processors."""
    loaded, want = _load(base)
    causal = model.adapt(loaded, recipe.Recipe(rank=4, dropout=0.5), want)
    model.evaluation_mode(causal)
    for module in causal.modules():
        if isinstance(module, bitsandbytes.nn.Linear4bit):
            assert module.training
        if isinstance(module, torch.nn.Dropout):
            assert not module.training


def test_the_adapter_folder_loads_with_plain_peft(base: Path, tmp_path: Path) -> None:
    """And gives the same logits, on a base in the same quantization."""
    loaded, want = _load(base)
    causal = model.adapt(loaded, PLAN, want)
    torch.manual_seed(8)
    for name, parameter in causal.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.1)
    model.evaluation_mode(causal)
    causal.save_pretrained(tmp_path, safe_serialization=True)
    assert not list(tmp_path.glob("*.bin"))
    other = peft.PeftModel.from_pretrained(_load(base)[0], tmp_path)
    model.evaluation_mode(other)
    ids = torch.tensor([[1, 20, 30, 40, 2]])
    with torch.no_grad():
        expected, found = causal(input_ids=ids).logits, other(input_ids=ids).logits
        plain = _load(base)[0](input_ids=ids).logits
    assert torch.equal(found, expected)
    assert float((plain - expected).abs().max()) > 1e-3


def test_an_adapter_starts_as_nothing(base: Path) -> None:
    """B is zero at first: the loss before training is the base's own."""
    loaded, want = _load(base)
    ids = torch.tensor([[1, 20, 30, 40, 2]])
    with torch.no_grad():
        expected = loaded(input_ids=ids).logits
        assert torch.equal(model.adapt(loaded, PLAN, want)(input_ids=ids).logits, expected)


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
def test_a_config_that_names_code_or_makes_no_model_is_refused(
    change: dict[str, Any], base: Path, tmp_path: Path
) -> None:
    """As BaseModelInvalid, whatever the libraries raise over it."""
    folder = shutil.copytree(base, tmp_path / "base")
    config = json.loads((folder / "config.json").read_text()) | change
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(errors.InputWrong, match="refused") as caught:
        model.skeleton(model.read_config(folder))
    assert caught.value.reason == reasons.BASE_MODEL_INVALID


@pytest.mark.parametrize("name", ["config.json", "model.safetensors"])
def test_a_folder_that_lacks_a_file_is_refused(name: str, base: Path, tmp_path: Path) -> None:
    """Without configuration or without safetensors there is nothing to train."""
    folder = shutil.copytree(base, tmp_path / "base")
    (folder / name).unlink()
    with pytest.raises(errors.InputWrong) as caught:
        model.read_config(folder)
    assert caught.value.reason == reasons.BASE_MODEL_INVALID


@pytest.mark.parametrize(
    "text",
    ['{"a": 1}', '{"version":', '{"version": "1.0", "model": {"type": "NewThing"}}'],
)
def test_a_tokenizer_that_is_none_is_refused(text: str, base: Path, tmp_path: Path) -> None:
    """Also where the library raises a plain Exception."""
    folder = shutil.copytree(base, tmp_path / "base")
    (folder / "tokenizer.json").write_text(text)
    with pytest.raises(errors.InputWrong, match="tokenizer") as caught:
        model.read_tokenizer(folder)
    assert caught.value.reason == reasons.BASE_MODEL_INVALID


def test_damaged_weights_are_refused(base: Path, tmp_path: Path) -> None:
    """A file that is no safetensors names itself as the cause."""
    folder = shutil.copytree(base, tmp_path / "base")
    (folder / "model.safetensors").write_bytes(b"\xff" * 200)
    with pytest.raises(errors.InputWrong, match="weights"):
        _load(folder)


@pytest.mark.parametrize(
    ("change", "words"), [({"num_hidden_layers": 3}, "missing"), ({"hidden_size": 96}, "shapes")]
)
def test_weights_of_another_shape_are_refused(
    change: dict[str, int], words: str, base: Path, tmp_path: Path
) -> None:
    """Missing tensors would be filled with random numbers: that must not train."""
    folder = shutil.copytree(base, tmp_path / "base")
    config = json.loads((folder / "config.json").read_text()) | change
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(errors.InputWrong, match=words):
        _load(folder)


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [([1.0, 0.5], "bfloat16"), ([1.0, 0.95], "float32"), ([1.0, 22.0], "float32")],
)
def test_the_dtype_is_the_clearly_faster_one(
    seconds: list[float], expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between equals it is float32, which another attempt will find too."""
    assert model.fastest_dtype("cpu", 64, 128) in ("float32", "bfloat16")
    monkeypatch.setattr(model, "_matmul_seconds", lambda *_: seconds)
    assert model.fastest_dtype("cpu", 64, 128) == expected


EXPERTS: dict[str, Any] = {
    "vocab_size": 320, "hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2,
    "num_attention_heads": 2, "num_key_value_heads": 2, "moe_intermediate_size": 64,
    "num_experts": 8, "num_experts_per_tok": 2,
}  # fmt: skip


def test_a_base_whose_experts_cannot_be_adapted_is_refused() -> None:
    """With the share that would stay as it is, instead of training its attention alone."""
    empty = model.skeleton(transformers.Qwen3MoeConfig(**EXPERTS, head_dim=32))
    with pytest.raises(errors.InputWrong, match=r"196,608 of its 229,376.*86%.*experts") as caught:
        model.check_coverage(empty, model.wanted(empty, PLAN))
    assert caught.value.reason == reasons.BASE_MODEL_INVALID


@pytest.mark.parametrize("kind", ["Qwen3Config", "Gemma3TextConfig", "Phi3Config", "Lfm2Config"])
def test_dense_bases_are_covered(kind: str) -> None:
    """Norms, embeddings, head and small convolutions may stay as they are."""
    shape = {k: v for k, v in EXPERTS.items() if "exp" not in k and "moe" not in k}
    empty = model.skeleton(getattr(transformers, kind)(**shape, pad_token_id=0))
    model.check_coverage(empty, model.wanted(empty, PLAN))


def test_routers_are_known_by_name_and_not_by_width() -> None:
    """A layer as wide as there are experts is adapted; the gate of the shared expert is not."""
    config = transformers.Qwen2MoeConfig(**EXPERTS | {"num_experts": 64})
    adapted = model.wanted(model.skeleton(config), PLAN).adapted
    assert "model.layers.0.self_attn.q_proj" in adapted
    assert "model.layers.0.mlp.shared_expert.gate_proj" in adapted
    assert "model.layers.0.mlp.shared_expert_gate" not in adapted


def test_transformers_is_told_to_stay_offline(base: Path) -> None:
    """A model folder is all that is read: nothing asks a hub."""
    assert transformers.utils.hub.is_offline_mode()
    model.read_tokenizer(base)
