"""Conversion from GGUF to safetensors: an equal model, written atomically."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import gguf
import pytest
import torch
import transformers

from hack.demo import gguf_conversion
from tests.support import models

pytestmark = pytest.mark.model

APACHE = Path(__file__).parents[3] / "LICENSE"

# transformers does not read the head size from GGUF; for Qwen3 it assumes 128.
SHAPE: dict[str, Any] = {"family": "qwen3", "seed": 6, "head_dim": 128}

TENSORS = {
    "model.embed_tokens": "token_embd",
    "model.norm": "output_norm",
    "input_layernorm": "attn_norm",
    "post_attention_layernorm": "ffn_norm",
    "self_attn.q_norm": "attn_q_norm",
    "self_attn.k_norm": "attn_k_norm",
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
}
"""Hugging Face tensor names → GGUF tensor names."""


def _write(path: Path, model: Any, pre: str = "smollm", license_: str = "apache-2.0") -> None:
    """Write a Qwen3 model as GGUF, as llama.cpp's converter does."""
    config, tokenizer = model.config, models.tokenizer()
    writer = gguf.GGUFWriter(path, "qwen3")
    writer.add_license(license_)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_key_length(config.head_dim)
    writer.add_value_length(config.head_dim)
    writer.add_rope_freq_base(config.rope_parameters["rope_theta"])
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    tokens = sorted(tokenizer.get_vocab(), key=tokenizer.get_vocab().__getitem__)
    tokens += ["12"]  # only the merge below produces it
    tokens += [f"<unused{i}>" for i in range(config.vocab_size - len(tokens))]
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(pre)
    writer.add_token_list(tokens)
    writer.add_token_types([3 if t.startswith("<|") else 1 for t in tokens])
    writer.add_token_merges(["1 2"])
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_pad_token_id(0)
    writer.add_chat_template(models.CHAT_TEMPLATE)
    for name, tensor in model.state_dict().items():
        if name == "lm_head.weight":
            continue
        parts = name.removesuffix(".weight").split(".")
        if parts[1] == "layers":
            new = f"blk.{parts[2]}.{TENSORS['.'.join(parts[3:])]}.weight"
        else:
            new = f"{TENSORS['.'.join(parts)]}.weight"
        writer.add_tensor(new, tensor.detach().numpy())
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a GGUF file and its license, as in an unpacked wheel."""
    folder = tmp_path_factory.mktemp("gguf")
    _write(folder / "tiny.gguf", models.build(**SHAPE))
    (folder / "LICENSE").write_bytes(APACHE.read_bytes())
    return folder


def test_the_converted_model_has_equal_logits(source: Path, tmp_path: Path) -> None:
    """In float32; with tokenizer, chat template and license, and without a pickle."""
    folder = gguf_conversion.from_gguf(source, tmp_path / "out", dtype="float32")
    names = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    assert names == {
        "config.json", "generation_config.json", "model.safetensors", "tokenizer.json",
        "tokenizer_config.json", "chat_template.jinja", "LICENSES/Apache-2.0.txt",
    }  # fmt: skip
    found = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    ids = torch.tensor([[1, 50, 60, 70, 2]])
    with torch.no_grad():
        expected = models.build(**SHAPE)(input_ids=ids).logits
        assert float((found(input_ids=ids).logits - expected).abs().max()) < 1e-5
    assert found.config.rms_norm_eps == 1e-6
    config = json.loads((folder / "config.json").read_text())
    assert not {"quantization_config", "_name_or_path"} & set(config)
    assert (folder / "LICENSES" / "Apache-2.0.txt").read_bytes() == APACHE.read_bytes()
    assert (folder / "chat_template.jinja").read_text() == models.CHAT_TEMPLATE
    assert (folder / "model.safetensors").stat().st_mode & 0o777 == 0o644


def test_the_tokenizer_splits_numbers_into_digits(source: Path, tmp_path: Path) -> None:
    """The conversion restores the pre-tokenizer that GGUF only names."""
    folder = gguf_conversion.from_gguf(source, tmp_path / "out")
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    # The file's only merge, "1 2", must not apply.
    assert tokenizer.tokenize("12") == ["1", "2"]
    assert tokenizer.decode(tokenizer("a 12 b")["input_ids"]) == "a 12 b"


def test_an_existing_folder_is_not_changed(source: Path, tmp_path: Path) -> None:
    """The second call returns it without converting."""
    (tmp_path / "out").mkdir()
    assert gguf_conversion.from_gguf(source, tmp_path / "out") == tmp_path / "out"
    assert list((tmp_path / "out").iterdir()) == []


def test_a_failed_conversion_leaves_no_files(tmp_path: Path) -> None:
    """Neither a partial folder nor a temporary one."""
    (tmp_path / "bad.gguf").write_bytes(b"GGUF" + b"\0" * 100)
    with pytest.raises(gguf_conversion.ConversionError, match=r"bad\.gguf cannot be read"):
        gguf_conversion.from_gguf(tmp_path / "bad.gguf", tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["bad.gguf"]


def test_a_model_without_a_license_text_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The command exits with 1 and says where to put the license."""
    _write(tmp_path / "tiny.gguf", models.build(**SHAPE))
    assert gguf_conversion.main([str(tmp_path / "tiny.gguf"), str(tmp_path / "out")]) == 1
    assert "LICENSE" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("count", [0, 2])
def test_exactly_one_gguf_file_is_required(count: int, tmp_path: Path) -> None:
    """The message says how many the folder contains."""
    for i in range(count):
        (tmp_path / f"{i}.gguf").touch()
    with pytest.raises(gguf_conversion.ConversionError, match=f"{count} GGUF files"):
        gguf_conversion.gguf_file(tmp_path)
