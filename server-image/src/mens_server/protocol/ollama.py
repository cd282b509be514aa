"""Wire types of the Ollama-shaped routes; reading and inference only."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field

from mens_server.protocol import request_body

VERSION = "0.12.0"
"""Version of Ollama's protocol that these routes follow."""

_Stop = Annotated[str, Field(min_length=1, max_length=256)]


class Options(request_body.Body):
    """Sampling, under Ollama's names."""

    NEUTRAL: ClassVar = {
        "top_k": (0,),
        "min_p": (0,),
        "typical_p": (1,),
        "repeat_penalty": (1,),
        "presence_penalty": (0,),
        "frequency_penalty": (0,),
        "mirostat": (0,),
    }

    temperature: Annotated[float, Field(ge=0, le=2, allow_inf_nan=False)] = 0.8
    top_p: Annotated[float, Field(gt=0, le=1, allow_inf_nan=False)] = 0.9
    seed: request_body.Seed | None = None
    num_predict: Annotated[int, Field(ge=-1, le=2**31 - 1)] = -1
    """Tokens to generate; -1 and 0 leave it to the server."""
    num_ctx: Annotated[int, Field(ge=1)] | None = None
    """Context that the client counts on; refused when the server has less."""
    stop: _Stop | Annotated[list[_Stop], Field(max_length=4)] = Field(default_factory=list)

    @property
    def stops(self) -> tuple[str, ...]:
        """Stop strings as a list."""
        return (self.stop,) if isinstance(self.stop, str) else tuple(self.stop)


class Common(request_body.Body):
    """What both routes take."""

    NEUTRAL: ClassVar = {
        "format": ("",),
        "think": (False,),
        "tools": ([],),
        "images": ([],),
        "logprobs": (False,),
        "top_logprobs": (0,),
    }

    model: Annotated[str, Field(max_length=128)]
    stream: bool = True
    options: Options = Options()
    keep_alive: str | int | float | None = None
    """How long Ollama would keep the model; here it stays loaded anyway."""


class Message(request_body.Body):
    """One turn; also one that a client got from a server and sends back as it came."""

    NEUTRAL: ClassVar = {
        "images": ([],),
        "thinking": ("",),
        "tool_calls": ([],),
        "tool_name": ("",),
    }

    role: Literal["system", "user", "assistant"]
    content: str


class ChatRequest(Common):
    """POST /api/chat."""

    messages: Annotated[list[Message], Field(min_length=1, max_length=512)]


class GenerateRequest(Common):
    """POST /api/generate."""

    NEUTRAL: ClassVar = {**Common.NEUTRAL, "context": ([],), "suffix": ("",), "template": ("",)}

    prompt: Annotated[str, Field(min_length=1)]
    system: str = ""
    raw: bool = False
    """Whether the prompt goes to the model without the chat template."""


def tag(name: str, digest: str, family: str) -> dict[str, Any]:
    """One model of /api/tags."""
    details = {"format": "safetensors", "family": family, "families": [family]}
    return {
        "name": f"{name}:latest",
        "model": f"{name}:latest",
        "modified_at": "1970-01-01T00:00:00Z",
        "size": 0,
        "digest": digest.removeprefix("sha256:"),
        "details": details,
    }
