"""Templates and tokenizers of other families: where an answer begins and ends."""

from __future__ import annotations

from typing import Any

import pytest
import transformers
from tokenizers import AddedToken, Tokenizer, pre_tokenizers
from tokenizers import models as kinds

from mens.api import reasons
from mens_trainer import chat, data, errors, recipe
from tests.support import models

ANSWER = "{{ message['content'] }}<|im_end|>"

PHI = models.CHAT_TEMPLATE.replace(ANSWER, "{{ message['content'] }}<|endoftext|>") + (
    "{% if not add_generation_prompt %}{{ eos_token }}{% endif %}"
)
"""Ends turns with a token of its own and the conversation with `eos_token`, as Phi 3 does."""

TRIMMING = models.CHAT_TEMPLATE.replace("message['content'] }}", "message['content'] | trim }}")
"""Trims what it is given, as Gemma's and Llama's do."""

ENDLESS = models.CHAT_TEMPLATE.replace("<|im_end|>", "")
"""Puts nothing after a turn."""

LLAMA = (
    "{% for message in messages %}{% if message['role'] == 'user' %}"
    "<|im_start|>{{ message['content'] }}<|endoftext|>"
    "{% else %} {{ message['content'] }}<|im_end|>{% endif %}{% endfor %}"
)
"""Puts a space before an answer that is not part of the prompt, as Llama 2 does."""

STRICT = (
    "{% if messages[0]['role'] == 'system' %}{{ raise_exception('no system role') }}{% endif %}"
    + models.CHAT_TEMPLATE
)
"""Refuses a role."""


def _row(answer: str) -> dict[str, Any]:
    return {"id": "7", "prompt": "p", "response": answer}


def _encoded(tokenizer: Any, answer: str) -> tuple[list[str], list[str]]:
    """The tokens of a row that are not supervised, and those that are."""
    ids, mask = chat.Encoder(tokenizer).encode(chat.conversation(_row(answer)))
    names = tokenizer.convert_ids_to_tokens(ids)
    return tuple(  # type: ignore[return-value]
        [n for n, on in zip(names, mask, strict=True) if bool(on) is want] for want in (False, True)
    )


def _with_merges(*merges: tuple[str, str]) -> Any:
    tokenizer = models.tokenizer()
    vocabulary = tokenizer.get_vocab()
    vocabulary |= {a + b: len(vocabulary) + i for i, (a, b) in enumerate(merges)}
    tokenizer.backend_tokenizer.model = kinds.BPE(vocab=vocabulary, merges=list(merges))
    return tokenizer


def _sentencepiece(template: str) -> Any:
    """A tokenizer that puts a space before the first word of whatever it is given."""
    words = ["<unk>", *models.SPECIAL, "▁", "▁p", "▁yes", "p", "yes"]
    backend = Tokenizer(kinds.WordLevel({w: i for i, w in enumerate(words)}, unk_token="<unk>"))
    backend.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first")
    backend.add_special_tokens([AddedToken(token, special=True) for token in models.SPECIAL])
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=backend, eos_token="<|im_end|>", chat_template=template
    )


def test_the_end_of_turn_is_the_templates_own() -> None:
    """It is supervised where it is another token than `eos_token`, and what follows it is not."""
    assert _encoded(models.tokenizer(PHI), "yes")[1] == ["y", "e", "s", "<|endoftext|>"]


@pytest.mark.parametrize("answer", ["yes", "yes\n", "\n yes \n"])
def test_an_answer_that_a_template_trims_is_supervised(answer: str) -> None:
    """Surrounding space that the template drops does not drop the row."""
    assert _encoded(models.tokenizer(TRIMMING), answer)[1] == ["y", "e", "s", "<|im_end|>"]


def test_space_that_a_template_keeps_is_supervised() -> None:
    """Before and after the answer."""
    found = _encoded(models.tokenizer(), "\n yes\n")[1]
    assert found == ["Ċ", "Ġ", "y", "e", "s", "Ċ", "<|im_end|>"]


def test_no_space_is_invented_before_an_answer() -> None:
    """A tokenizer that begins each text with a space does not begin the answer with one."""
    template = LLAMA.replace("%} {{", "%}{{")
    assert _encoded(_sentencepiece(template), "yes")[1] == ["yes", "<|im_end|>"]


def test_the_space_before_an_answer_is_learned_with_it() -> None:
    """Where the prompt ends before it, the model has to predict the token that holds both."""
    head, answer = _encoded(_sentencepiece(LLAMA), "yes")
    assert answer == ["▁yes", "<|im_end|>"]
    assert head[-1] != "▁"


def test_a_token_never_spans_prompt_and_answer() -> None:
    """The prompt keeps the tokens that it has when the model is asked with it alone."""
    tokenizer = _with_merges(("Ċ", "Ċ"))
    head, answer = _encoded(tokenizer, "\n\nx")
    assert answer == ["Ċ", "Ċ", "x", "<|im_end|>"]
    asked = tokenizer.apply_chat_template(
        [{"role": "user", "content": "p"}], tokenize=False, add_generation_prompt=True
    )
    assert head == tokenizer.tokenize(asked)


@pytest.mark.parametrize(
    ("template", "words"),
    [
        ("", "no chat template"),
        (ENDLESS, "no special token after an answer"),
        ("{{ nothing.at.all }}", "does not work"),
        ("{% if %}", "does not work"),
        ("constant", "no special token after an answer"),
    ],
)
def test_a_base_that_cannot_chat_is_refused(template: str, words: str) -> None:
    """Before a row is read, with the file to correct; an adapter would never learn to stop."""
    with pytest.raises(errors.InputWrong, match=words) as caught:
        chat.Encoder(models.tokenizer(template))
    assert caught.value.reason == reasons.BASE_MODEL_INVALID


def test_a_row_that_a_template_refuses_is_named() -> None:
    """With its id and the template's own words."""
    row = {
        "id": "7",
        "messages": [{"role": "system", "content": "s"}, *chat.conversation(_row("r"))],
    }
    with pytest.raises(errors.InputWrong, match=r"row 7.*no system role") as caught:
        data.tokenize([row], chat.Encoder(models.tokenizer(STRICT)), recipe.Recipe())
    assert caught.value.reason == reasons.CORPUS_INVALID


def test_memory_that_runs_out_is_not_the_rows_fault() -> None:
    """It keeps its own ending, which makes the next attempt smaller."""
    with pytest.raises(MemoryError), errors.blamed(chat.invalid):
        raise MemoryError
    with pytest.raises(RuntimeError), errors.blamed(chat.invalid):
        raise RuntimeError("CUDA out of memory. Tried to allocate 2 GiB")
