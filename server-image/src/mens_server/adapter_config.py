"""What an adapter's configuration may say: typed, and refused where it is not understood.

PEFT writes every option of every variant into `adapter_config.json`. Options that are off change
nothing; one that is on and not known here would make the adapter mean something else.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Final, Literal, TypeVar

import pydantic

from mens.api import reasons
from mens_server import model_validation

KEYS_WITHOUT_EFFECT: Final = frozenset(
    {
        "base_model_name_or_path",
        "inference_mode",
        "lora_dropout",
        "peft_version",
        "qalora_group_size",
        "revision",
        "target_modules",
        "task_type",
    }
)
"""Keys with values that change nothing here: the tensors say which layers are trained."""

DEFAULTS: Final[Mapping[str, object]] = {"megatron_core": "megatron.core"}
"""Values that PEFT writes though nobody asked for them."""

_PLAIN: Final = re.compile(r"\w+(\.\w+)*", re.ASCII)

_Rank = Annotated[int, pydantic.Field(ge=1)]
_Alpha = Annotated[float, pydantic.Field(allow_inf_nan=False)]
_Number = TypeVar("_Number", int, float)


class LoraConfig(pydantic.BaseModel):
    """The part of `adapter_config.json` that says what the tensors mean."""

    model_config = pydantic.ConfigDict(frozen=True, strict=True, extra="ignore")

    peft_type: Literal["LORA"]
    """Kind of adapter."""
    bias: Literal["none"] = "none"
    """Which biases were trained too."""
    r: _Rank
    """Rank of the layers that `rank_pattern` does not name."""
    lora_alpha: _Alpha
    """Alpha of the layers that `alpha_pattern` does not name."""
    rank_pattern: dict[str, _Rank] | None = None
    """Ranks by ends of module names."""
    alpha_pattern: dict[str, _Alpha] | None = None
    """Alphas by ends of module names."""
    use_rslora: bool | None = None
    """Whether alpha is divided by the root of the rank."""
    init_lora_weights: bool | Literal["gaussian", "orthogonal"] | None = None
    """How training began. Other ways (PiSSA, OLoRA, CorDA, LoftQ …) take something out of the
    base's weights, so that the adapter is wrong on the base as it was published."""

    @pydantic.field_validator("rank_pattern", "alpha_pattern")
    @classmethod
    def _plain(cls, patterns: dict[str, Any] | None) -> dict[str, Any] | None:
        # PEFT runs them as regular expressions; an artifact's expressions are not run here.
        for pattern in patterns or {}:
            if not _PLAIN.fullmatch(pattern):
                raise ValueError(f"{pattern[:100]!r} is a regular expression; write module names")
        return patterns

    def rank(self, module: str) -> int:
        """Rank of a module."""
        return _of(self.rank_pattern, module, self.r)

    def scale(self, module: str) -> float:
        """What B·A is multiplied with: alpha/r, or alpha/√r for rsLoRA."""
        rank = self.rank(module)
        return _of(self.alpha_pattern, module, self.lora_alpha) / (
            rank**0.5 if self.use_rslora else rank
        )


def read(folder: Path) -> LoraConfig:
    """Check an adapter's folder and read its configuration.

    Raises:
        InvalidModelError: A file or a key is refused; the message names it.
    """
    model_validation.check_files(folder, reasons.ADAPTER_INVALID)
    config = model_validation.read_json(folder / "adapter_config.json", reasons.ADAPTER_INVALID)
    model_validation.reject_custom_code(config, "adapter_config.json", reasons.ADAPTER_INVALID)
    known = LoraConfig.model_fields.keys() | KEYS_WITHOUT_EFFECT
    for key in sorted(config.keys() - known):
        if config[key] not in (None, False, [], {}, DEFAULTS.get(key)):
            raise model_validation.InvalidModelError(
                reasons.ADAPTER_INVALID,
                f"adapter_config.json sets {key!r}, which this server does not know: train a LoRA "
                "adapter on linear layers.",
            )
    try:
        return LoraConfig.model_validate(config)
    except pydantic.ValidationError as error:
        raise _invalid(error) from error


def _of(patterns: Mapping[str, _Number] | None, module: str, default: _Number) -> _Number:
    """The value of the first pattern that is the module's name or a whole end of it, as in PEFT."""
    for pattern, value in (patterns or {}).items():
        if module == pattern or module.endswith(f".{pattern}"):
            return value
    return default


def _invalid(error: pydantic.ValidationError) -> model_validation.InvalidModelError:
    first = error.errors(include_url=False, include_context=False)[0]
    field, value = str(first["loc"][0]), repr(first["input"])[:100]
    return model_validation.InvalidModelError(
        reasons.ADAPTER_INVALID,
        f"adapter_config.json has {field}={value}: {first['msg']}. This server loads LoRA adapters "
        "on linear layers, without biases, that began beside the base's own weights: train or "
        "publish it again.",
    )
