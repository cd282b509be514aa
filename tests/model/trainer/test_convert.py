"""GGUF to safetensors: the same model comes out, complete or not at all."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import gguf
import pytest
import torch
import transformers

from mens_trainer import command, convert
from tests.support import models

pytestmark = pytest.mark.model

APACHE = Path(__file__).parents[3] / "LICENSE"

# transformers reads no head size from GGUF: 128 is what it assumes for Qwen3.
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
"""Names of Hugging Face → names of GGUF."""


def _write(path: Path, model: Any, pre: str = "smollm", license_: str = "apache-2.0") -> None:
    """Write a Qwen3 model as GGUF, the way llama.cpp's converter does."""
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
    words = sorted(tokenizer.get_vocab(), key=tokenizer.get_vocab().__getitem__)
    words += ["12"]  # what the one merge makes, and nothing else reaches
    words += [f"<unused{i}>" for i in range(config.vocab_size - len(words))]
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(pre)
    writer.add_token_list(words)
    writer.add_token_types([3 if w.startswith("<|") else 1 for w in words])
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
    """A folder with a GGUF file and its license, like an unpacked wheel."""
    folder = tmp_path_factory.mktemp("gguf")
    _write(folder / "tiny.gguf", models.build(**SHAPE))
    (folder / "LICENSE").write_bytes(APACHE.read_bytes())
    return folder


def test_the_same_model_comes_out(source: Path, tmp_path: Path) -> None:
    """Equal logits in float32; tokenizer, template and license beside them, and no pickle."""
    folder = convert.from_gguf(source, tmp_path / "out", dtype="float32")
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


def test_numbers_are_split_into_digits(source: Path, tmp_path: Path) -> None:
    """The pre-tokenizer that GGUF only names is put back."""
    folder = convert.from_gguf(source, tmp_path / "out")
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    # The file's one merge, "1 2", must not be reached.
    assert tokenizer.tokenize("12") == ["1", "2"]
    assert tokenizer.decode(tokenizer("a 12 b")["input_ids"]) == "a 12 b"


def test_a_folder_that_exists_is_left_alone(source: Path, tmp_path: Path) -> None:
    """The second call costs nothing."""
    (tmp_path / "out").mkdir()
    assert convert.from_gguf(source, tmp_path / "out") == tmp_path / "out"
    assert list((tmp_path / "out").iterdir()) == []


def test_a_conversion_that_fails_leaves_nothing(tmp_path: Path) -> None:
    """Neither a half folder nor a temporary one."""
    (tmp_path / "bad.gguf").write_bytes(b"GGUF" + b"\0" * 100)
    with pytest.raises(convert.ConversionError, match=r"bad\.gguf cannot be read"):
        convert.from_gguf(tmp_path / "bad.gguf", tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["bad.gguf"]


def test_no_license_no_model(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A model whose license text is nowhere is not converted; the command says where to put it."""
    _write(tmp_path / "tiny.gguf", models.build(**SHAPE))
    parser = argparse.ArgumentParser()
    command.register(parser.add_subparsers())
    arguments = parser.parse_args(["convert", str(tmp_path / "tiny.gguf"), str(tmp_path / "out")])
    assert arguments.run(arguments) == 1
    assert "LICENSE" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("count", [0, 2])
def test_one_gguf_file_is_needed(count: int, tmp_path: Path) -> None:
    """None or two: the message says how many there are."""
    for i in range(count):
        (tmp_path / f"{i}.gguf").touch()
    with pytest.raises(convert.ConversionError, match=f"{count} GGUF files"):
        convert.gguf_file(tmp_path)


def test_training_from_a_shell(base: Path, corpus: Path, tmp_path: Path) -> None:
    """`mens train` writes an adapter folder, and does not write over one."""
    parser = argparse.ArgumentParser()
    command.register(parser.add_subparsers())
    out = tmp_path / "adapter"
    schedule = '{"maxSteps": 1, "maxTokens": 200, "effectiveBatchSize": 4}'
    arguments = parser.parse_args(
        [
            "train",
            "--base",
            str(base),
            "--corpus",
            str(corpus),
            "-o",
            str(out),
            "--threads",
            "2",
            "--schedule",
            schedule,
        ]
    )
    assert arguments.run(arguments) == 0
    assert (out / "adapter_model.safetensors").is_file()
    assert arguments.run(arguments) == 1
    arguments.out, arguments.schedule = tmp_path / "other", '{"maxSteps": -1}'
    assert arguments.run(arguments) == 2
