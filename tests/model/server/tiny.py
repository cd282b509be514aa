"""Tiny random models, tokenizers and adapters in the layouts that real ones have."""

from __future__ import annotations

from pathlib import Path

import torch
import transformers
from peft import LoraConfig, get_peft_model
from tokenizers import Tokenizer, decoders, models, pre_tokenizers

# More threads would only wait for each other in matrices this small.
torch.set_num_threads(1)

TEMPLATE = (
    "{% for m in messages %}<{{ m['role'] }}>{{ m['content'] }}</s>{% endfor %}"
    "{% if add_generation_prompt %}<assistant>{% endif %}"
)
SHAPE = {
    "vocab_size": 260,
    "hidden_size": 48,
    "intermediate_size": 96,
    "num_hidden_layers": 3,
    "num_attention_heads": 6,
    "num_key_value_heads": 2,
    "max_position_embeddings": 256,
    "bos_token_id": 256,
    "eos_token_id": 257,
    "pad_token_id": 257,
    "tie_word_embeddings": True,
}


def llama(folder: Path, seed: int = 1) -> Path:
    """A Llama with grouped queries."""
    torch.manual_seed(seed)
    config = transformers.LlamaConfig(**SHAPE)
    return _save(transformers.LlamaForCausalLM(config), folder)


def qwen3(folder: Path, seed: int = 2) -> Path:
    """A Qwen3: norms on queries and keys, head size of its own."""
    torch.manual_seed(seed)
    config = transformers.Qwen3Config(**SHAPE, head_dim=16)
    return _save(transformers.Qwen3ForCausalLM(config), folder)


def adapter(base: Path, folder: Path, seed: int, std: float = 0.15, **settings: object) -> Path:
    """A LoRA adapter that changes the base's answers a lot."""
    torch.manual_seed(seed)
    model = transformers.AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    options = {"r": 4, "lora_alpha": 8, "target_modules": "all-linear", **settings}
    peft_model = get_peft_model(model, LoraConfig(task_type="CAUSAL_LM", **options))
    for name, parameter in peft_model.named_parameters():
        if "lora_" in name:
            torch.nn.init.normal_(parameter, std=std)
    # PEFT would add a copy of the base's own embedding when the last layer is adapted.
    peft_model.save_pretrained(folder, save_embedding_layers=False)
    (folder / "README.md").unlink(missing_ok=True)
    return folder


def _save(model: transformers.PreTrainedModel, folder: Path) -> Path:
    for parameter in model.parameters():
        if parameter.ndim > 1:
            torch.nn.init.normal_(parameter, std=0.12)
    model.generation_config.eos_token_id = [257, 258]
    model.save_pretrained(folder)
    tokenizer(folder)
    return folder


def tokenizer(folder: Path) -> None:
    """A byte tokenizer with the special tokens of a chat."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {letter: index for index, letter in enumerate(alphabet)}
    core = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    core.add_special_tokens(["<s>", "</s>", "<end>"])
    fast = transformers.PreTrainedTokenizerFast(
        tokenizer_object=core, bos_token="<s>", eos_token="</s>", chat_template=TEMPLATE
    )
    fast.save_pretrained(folder)
