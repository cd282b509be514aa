"""Models for tests: tiny random models of several families, and the real model of the demo.

The tiny models have a byte-level tokenizer with a chat template: their folders have every file of a
real model. Creating one takes a tenth of a second after the import of torch.
"""

# ruff: noqa: PLC0415  # importing torch takes seconds, and not every test needs it
from __future__ import annotations

import functools
from pathlib import Path
from typing import Any, Final

CHAT_TEMPLATE: Final = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n"
    "{{ message['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
"""ChatML, as SmolLM2 and Qwen use it."""

SPECIAL: Final = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
"""Special tokens, with the ids 0, 1 and 2."""

FAMILIES: Final = ("llama", "qwen3")
"""Architectures that `tiny` makes."""


def tokenizer(template: str = CHAT_TEMPLATE) -> Any:
    """Return a tokenizer with one token per byte."""
    from tokenizers import AddedToken, Tokenizer, decoders, pre_tokenizers
    from tokenizers import models as kinds
    from transformers import PreTrainedTokenizerFast

    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {token: i for i, token in enumerate((*SPECIAL, *letters))}
    backend = Tokenizer(kinds.BPE(vocab=vocabulary, merges=[]))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    backend.add_special_tokens([AddedToken(token, special=True) for token in SPECIAL])
    return PreTrainedTokenizerFast(
        tokenizer_object=backend,
        bos_token="<|im_start|>",
        eos_token="<|im_end|>",
        pad_token="<|endoftext|>",
        chat_template=template,
    )


def config(family: str = "llama", **changes: Any) -> Any:
    """Return a configuration of two layers of width 64, the minimum that the trainer quantizes."""
    import transformers

    shape: dict[str, Any] = {
        "vocab_size": 320,
        "hidden_size": 64,
        "intermediate_size": 128,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "num_key_value_heads": 2,
        "head_dim": 32,
        "max_position_embeddings": 512,
        "tie_word_embeddings": True,
        "bos_token_id": 1,
        "eos_token_id": 2,
        "pad_token_id": 0,
        # Ten times the usual value, so that an adapter on random weights can learn a few answers.
        "initializer_range": 0.2,
    } | changes
    kinds = {"llama": transformers.LlamaConfig, "qwen3": transformers.Qwen3Config}
    return kinds[family](**shape)


def build(family: str = "llama", *, seed: int = 0, **changes: Any) -> Any:
    """Return a random model in memory."""
    import torch
    import transformers

    torch.manual_seed(seed)
    return transformers.AutoModelForCausalLM.from_config(config(family, **changes)).float()


def tiny(folder: Path, *, seed: int = 0, family: str = "llama", **changes: Any) -> Path:
    """Write a random model as a folder in the Hugging Face layout, without a license."""
    folder.mkdir(parents=True, exist_ok=True)
    build(family, seed=seed, **changes).save_pretrained(folder)
    tokenizer().save_pretrained(folder)
    return folder


def adapter(folder: Path, *, seed: int = 0, family: str = "llama", **changes: Any) -> Path:
    """Write a random LoRA adapter of a model that `tiny` makes, in PEFT's layout."""
    import peft
    import torch

    base = build(family, seed=seed, **changes)
    settings = peft.LoraConfig(
        r=4, lora_alpha=8, target_modules="all-linear", task_type="CAUSAL_LM"
    )
    adapted = peft.get_peft_model(base, settings)
    for name, parameter in adapted.named_parameters():
        if "lora_" in name:
            torch.nn.init.normal_(parameter, std=0.1)
    adapted.save_pretrained(folder)
    # PEFT writes a model card that names the folder of the base.
    (folder / "README.md").unlink(missing_ok=True)
    return folder


@functools.cache
def smollm2() -> Path:
    """Return the folder of SmolLM2-135M-Instruct, converted once and cached; for the model tier."""
    from hack.demo import model

    return model.folder()
