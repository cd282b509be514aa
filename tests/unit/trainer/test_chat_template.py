"""Chat templates and tokenizers of several model families: which tokens are supervised."""

from __future__ import annotations

from typing import Any

import pytest
import transformers
from tokenizers import AddedToken, Tokenizer, pre_tokenizers
from tokenizers import models as kinds

from mens.api import reasons
from mens.runtime import errors
from mens_trainer import chat_template, data, library_errors, recipe
from tests.support import models

ANSWER = "{{ message['content'] }}<|im_end|>"

PHI = models.CHAT_TEMPLATE.replace(ANSWER, "{{ message['content'] }}<|endoftext|>") + (
    "{% if not add_generation_prompt %}{{ eos_token }}{% endif %}"
)
"""Ends turns with its own token and the conversation with `eos_token`, as Phi 3 does."""

TRIMMING = models.CHAT_TEMPLATE.replace("message['content'] }}", "message['content'] | trim }}")
"""Trims the content of messages, as Gemma's and Llama's do."""

WITHOUT_END_OF_TURN = models.CHAT_TEMPLATE.replace("<|im_end|>", "")
"""Adds no token after a turn."""

LLAMA = (
    "{% for message in messages %}{% if message['role'] == 'user' %}"
    "<|im_start|>{{ message['content'] }}<|endoftext|>"
    "{% else %} {{ message['content'] }}<|im_end|>{% endif %}{% endfor %}"
)
"""Adds a space before an answer that is not part of the prompt, as Llama 2 does."""

WITHOUT_SYSTEM_ROLE = (
    "{% if messages[0]['role'] == 'system' %}{{ raise_exception('no system role') }}{% endif %}"
    + models.CHAT_TEMPLATE
)
"""Refuses the system role."""


def _row(answer: str) -> dict[str, Any]:
    return {"id": "7", "prompt": "p", "response": answer}


def _encode(tokenizer: Any, answer: str) -> tuple[list[str], list[str]]:
    """Return the unsupervised tokens of a row, and the supervised ones."""
    ids, mask = chat_template.ChatEncoder(tokenizer).encode(chat_template.to_messages(_row(answer)))
    tokens = list(zip(tokenizer.convert_ids_to_tokens(ids), mask, strict=True))
    return [t for t, supervised in tokens if not supervised], [t for t, on in tokens if on]


def _with_merges(*merges: tuple[str, str]) -> Any:
    tokenizer = models.tokenizer()
    vocabulary = tokenizer.get_vocab()
    vocabulary |= {a + b: len(vocabulary) + i for i, (a, b) in enumerate(merges)}
    tokenizer.backend_tokenizer.model = kinds.BPE(vocab=vocabulary, merges=list(merges))
    return tokenizer


def _sentencepiece(template: str) -> Any:
    """A tokenizer that adds a space before the first word of every text."""
    words = ["<unk>", *models.SPECIAL, "▁", "▁p", "▁yes", "p", "yes"]
    backend = Tokenizer(kinds.WordLevel({w: i for i, w in enumerate(words)}, unk_token="<unk>"))
    backend.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first")
    backend.add_special_tokens([AddedToken(token, special=True) for token in models.SPECIAL])
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=backend, eos_token="<|im_end|>", chat_template=template
    )


def test_the_end_of_turn_token_of_the_template_is_supervised() -> None:
    """Also where it differs from `eos_token`; tokens after it are not supervised."""
    assert _encode(models.tokenizer(PHI), "yes")[1] == ["y", "e", "s", "<|endoftext|>"]


@pytest.mark.parametrize("answer", ["yes", "yes\n", "\n yes \n"])
def test_a_trimmed_answer_is_supervised(answer: str) -> None:
    """The template removes the whitespace; the row is still used."""
    assert _encode(models.tokenizer(TRIMMING), answer)[1] == ["y", "e", "s", "<|im_end|>"]


def test_whitespace_that_a_template_keeps_is_supervised() -> None:
    """Before and after the answer."""
    found = _encode(models.tokenizer(), "\n yes\n")[1]
    assert found == ["Ċ", "Ġ", "y", "e", "s", "Ċ", "<|im_end|>"]


def test_no_space_is_added_before_an_answer() -> None:
    """Although the tokenizer adds a space before each text."""
    template = LLAMA.replace("%} {{", "%}{{")
    assert _encode(_sentencepiece(template), "yes")[1] == ["yes", "<|im_end|>"]


def test_a_token_with_the_space_before_an_answer_is_supervised() -> None:
    """The prompt ends before the space, so the model must predict the token with both."""
    prompt, answer = _encode(_sentencepiece(LLAMA), "yes")
    assert answer == ["▁yes", "<|im_end|>"]
    assert prompt[-1] != "▁"


def test_a_token_does_not_span_prompt_and_answer() -> None:
    """The prompt has the tokens that it has at inference."""
    tokenizer = _with_merges(("Ċ", "Ċ"))
    prompt, answer = _encode(tokenizer, "\n\nx")
    assert answer == ["Ċ", "Ċ", "x", "<|im_end|>"]
    rendered = tokenizer.apply_chat_template(
        [{"role": "user", "content": "p"}], tokenize=False, add_generation_prompt=True
    )
    assert prompt == tokenizer.tokenize(rendered)


@pytest.mark.parametrize(
    ("template", "message"),
    [
        ("", "no chat template"),
        (WITHOUT_END_OF_TURN, "no special token after an assistant turn"),
        ("{{ nothing.at.all }}", "does not work"),
        ("{% if %}", "does not work"),
        ("constant", "no special token after an assistant turn"),
    ],
)
def test_an_unusable_chat_template_is_refused(template: str, message: str) -> None:
    """Before a row is read: an adapter would not learn where to stop."""
    with pytest.raises(errors.InvalidInputError, match=message) as caught:
        chat_template.ChatEncoder(models.tokenizer(template))
    assert caught.value.reason == reasons.BASE_MODEL_INVALID


def test_a_row_that_the_template_refuses_is_named() -> None:
    """With its id and the error of the template."""
    row = {
        "id": "7",
        "messages": [{"role": "system", "content": "s"}, *chat_template.to_messages(_row("r"))],
    }
    with pytest.raises(errors.InvalidInputError, match=r"row 7.*no system role") as caught:
        data.tokenize(
            [row], chat_template.ChatEncoder(models.tokenizer(WITHOUT_SYSTEM_ROLE)), recipe.Recipe()
        )
    assert caught.value.reason == reasons.CORPUS_INVALID


def test_out_of_memory_is_not_blamed_on_a_row() -> None:
    """The error stays, and the next attempt uses a smaller micro-batch."""
    with pytest.raises(MemoryError), library_errors.convert(chat_template.corpus_invalid):
        raise MemoryError
    with pytest.raises(RuntimeError), library_errors.convert(chat_template.corpus_invalid):
        raise RuntimeError("CUDA out of memory. Tried to allocate 2 GiB")
