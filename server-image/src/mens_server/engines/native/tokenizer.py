"""The base model's own tokenizer and chat template."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mens_server.engines import interface
from mens_server.protocol import errors


class FolderTokenizer:
    """Tokenizer of a model folder; the chat template runs in jinja's sandbox."""

    def __init__(self, folder: Path) -> None:
        from transformers import AutoTokenizer  # noqa: PLC0415  # seconds of import

        # Encoding sets options on the shared object first, so two threads may not do it together.
        self._lock = threading.Lock()
        self._tokenizer: Any = AutoTokenizer.from_pretrained(
            str(folder), local_files_only=True, trust_remote_code=False
        )

    @property
    def stop_token(self) -> int | None:
        """Id of the end-of-turn token."""
        token = self._tokenizer.eos_token_id
        return None if token is None else int(token)

    def encode(self, text: str) -> list[int]:
        """Token ids of a plain text; special tokens written in it stay plain text."""
        with self._lock:
            return list(
                self._tokenizer.encode(text, add_special_tokens=True, split_special_tokens=True)
            )

    def render(self, messages: Sequence[interface.Message]) -> list[int]:
        """Token ids of a conversation, up to where the assistant's turn begins."""
        if not self._tokenizer.chat_template:
            raise errors.UnsupportedParameter(
                "The base model has no chat template: use /v1/completions.", param="messages"
            )
        turns = [{"role": turn.role, "content": turn.content} for turn in messages]
        try:
            text = self._tokenizer.apply_chat_template(
                turns, tokenize=False, add_generation_prompt=True
            )
        except Exception as error:  # The template is data: whatever it raises is its answer.
            raise errors.InvalidRequest(
                f"The base model's chat template refuses these messages: {error}", param="messages"
            ) from error
        with self._lock:
            return list(self._tokenizer.encode(text, add_special_tokens=False))

    def decode(self, tokens: Sequence[int]) -> str:
        """Text of token ids, without special tokens."""
        return str(
            self._tokenizer.decode(
                list(tokens), skip_special_tokens=True, clean_up_tokenization_spaces=False
            )
        )
