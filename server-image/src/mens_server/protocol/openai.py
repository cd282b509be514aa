"""Wire types of the OpenAI routes."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Final, Literal, Self

import pydantic
from pydantic import Field

from mens_server.protocol import errors, request_body

MAX_MESSAGES: Final = 512
"""Turns of one conversation."""
MAX_STOPS: Final = 4
"""Stop strings, as at OpenAI."""

_TOKENS: Final = 2**31 - 1
_Stop = Annotated[str, Field(min_length=1, max_length=256)]
_Stops = Annotated[list[_Stop], Field(max_length=MAX_STOPS)]


class StreamOptions(request_body.Body):
    """How to stream."""

    include_usage: bool = False
    """Whether a last chunk tells the numbers of tokens."""


class TextPart(request_body.Body):
    """A piece of a message."""

    type: Literal["text"]
    text: str


class Message(request_body.Body):
    """One turn; also one that a client got from a server and sends back as it came."""

    NEUTRAL: ClassVar = {"refusal": ("",), "tool_calls": ([],), "annotations": ([],)}

    role: Literal["system", "developer", "user", "assistant"]
    content: str | Annotated[list[TextPart], Field(min_length=1, max_length=64)]
    name: Annotated[str, Field(max_length=64)] | None = None
    """Who speaks, for the asker's own records; chat templates know roles only."""

    @property
    def text(self) -> str:
        """All of its text."""
        if isinstance(self.content, str):
            return self.content
        return "".join(part.text for part in self.content)


class Common(request_body.Body):
    """What both kinds of completions take."""

    NEUTRAL: ClassVar = {
        "n": (1,),
        "presence_penalty": (0,),
        "frequency_penalty": (0,),
        "logit_bias": ({},),
        "store": (False,),
        "service_tier": ("auto", "default"),
    }

    model: Annotated[str, Field(max_length=128)]
    temperature: Annotated[float, Field(ge=0, le=2, allow_inf_nan=False)] = 1.0
    top_p: Annotated[float, Field(gt=0, le=1, allow_inf_nan=False)] = 1.0
    seed: request_body.Seed | None = None
    max_tokens: Annotated[int, Field(ge=1, le=_TOKENS)] | None = None
    stop: _Stop | _Stops = Field(default_factory=list)
    stream: bool = False
    stream_options: StreamOptions | None = None
    user: Annotated[str, Field(max_length=512)] | None = None
    """Who asks, for the asker's own records; nothing depends on it."""

    @pydantic.model_validator(mode="after")
    def _usage_of_streams(self) -> Self:
        if self.wants_usage and not self.stream:
            raise request_body.unsupported("stream_options", "without stream: true")
        return self

    @property
    def stops(self) -> tuple[str, ...]:
        """Stop strings as a list."""
        return (self.stop,) if isinstance(self.stop, str) else tuple(self.stop)

    @property
    def wants_usage(self) -> bool:
        """Whether a stream ends with the numbers of tokens."""
        return self.stream_options is not None and self.stream_options.include_usage


class ChatRequest(Common):
    """POST /v1/chat/completions."""

    NEUTRAL: ClassVar = {
        **Common.NEUTRAL,
        "logprobs": (False,),
        "top_logprobs": (0,),
        "response_format": ({"type": "text"},),
        "tools": ([],),
        "tool_choice": ("none", "auto"),
        "parallel_tool_calls": (True, False),
        "modalities": (["text"],),
    }

    messages: Annotated[list[Message], Field(min_length=1, max_length=MAX_MESSAGES)]
    max_completion_tokens: Annotated[int, Field(ge=1, le=_TOKENS)] | None = None

    @property
    def limit(self) -> int | None:
        """Tokens asked for, under either of the two names."""
        both = {self.max_tokens, self.max_completion_tokens} - {None}
        if len(both) > 1:
            raise errors.InvalidRequest(
                "max_tokens and max_completion_tokens say different things.", param="max_tokens"
            )
        return next(iter(both), None)


class CompletionRequest(Common):
    """POST /v1/completions."""

    NEUTRAL: ClassVar = {
        **Common.NEUTRAL,
        "best_of": (1,),
        "echo": (False,),
        "logprobs": (),
        "suffix": ("",),
    }

    prompt: (
        Annotated[str, Field(min_length=1)]
        | Annotated[list[str], Field(min_length=1, max_length=1)]
        | Annotated[list[Annotated[int, Field(ge=0)]], Field(min_length=1)]
    )


def usage(prompt: int, completion: int) -> dict[str, int]:
    """Numbers of tokens."""
    return {
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "total_tokens": prompt + completion,
    }


def chat_choice(text: str, finish: str | None) -> dict[str, Any]:
    """The one choice of a chat completion."""
    message = {"role": "assistant", "content": text, "refusal": None}
    return {"index": 0, "message": message, "logprobs": None, "finish_reason": finish}


def chat_delta(delta: dict[str, Any], finish: str | None = None) -> dict[str, Any]:
    """The one choice of a chunk of a chat completion."""
    return {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}


def text_choice(text: str, finish: str | None) -> dict[str, Any]:
    """The one choice of a completion, whole or chunk."""
    return {"index": 0, "text": text, "logprobs": None, "finish_reason": finish}
