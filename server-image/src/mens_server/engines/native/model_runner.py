"""Runs the steps of a Hugging Face model; owned by the engine's thread."""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import safetensors
import torch

from mens.api import reasons
from mens.runtime import machine
from mens_server import model_validation
from mens_server.engines import interface, scheduling
from mens_server.engines.native import attention, dtypes, lora, memory, sampling, tokenizer

_log = logging.getLogger(__name__)

CPU: Final = torch.device("cpu")
"""Where tests compute."""


class NativeRunner:
    """A base model, its adapters and its key-value slots."""

    def __init__(
        self,
        model: Any,
        tokenizer: interface.Tokenizer,
        *,
        stop_tokens: frozenset[int],
        slots: int,
        max_context: int,
        threads: int,
        note: str = "",
    ) -> None:
        config = model.config
        self._model = model
        self._tokenizer = tokenizer
        self._stop_tokens = stop_tokens
        self._slots = slots
        self._context = max_context
        self._note = note
        self._device: torch.device = model.device
        self._threads = threads
        self._threads_set = False
        self._dtype: torch.dtype = model.dtype
        self._bank = lora.Bank(model)
        self._sampler = sampling.Sampler()
        self._cache = attention.SlotCache(
            layers=config.num_hidden_layers,
            slots=slots,
            context=self._context,
            heads=config.num_key_value_heads,
            size=_head_size(config),
            dtype=self._dtype,
            device=self._device,
        )

    @property
    def tokenizer(self) -> interface.Tokenizer:
        """Tokenizer of the base."""
        return self._tokenizer

    @property
    def stop_tokens(self) -> frozenset[int]:
        """Ids that end an answer."""
        return self._stop_tokens

    @property
    def vocabulary(self) -> int:
        """Rows of the embedding."""
        return int(self._model.get_input_embeddings().num_embeddings)

    @property
    def max_context(self) -> int:
        """Positions that a slot holds."""
        return self._context

    @property
    def slots(self) -> int:
        """Requests that can be computed together."""
        return self._slots

    @property
    def note(self) -> str:
        """Why there are fewer slots than asked for."""
        return self._note

    def step(self, segments: Sequence[scheduling.Segment]) -> list[int]:
        """Compute the segments and draw a token for each that samples, in the given order."""
        for segment in segments:
            if segment.start == 0:
                self._sampler.begin(segment.slot, segment.scheduled.request.sampling)
        asking = [segment for segment in segments if segment.sample]
        try:
            logits = self.logits(segments)
            return self._sampler.draw(
                logits,
                [segment.slot for segment in asking],
                [segment.scheduled.request.sampling for segment in asking],
            )
        except Exception:
            self._cache.forget(segments)
            raise

    @torch.inference_mode()
    def logits(self, segments: Sequence[scheduling.Segment]) -> torch.Tensor:
        """Logits (N, vocabulary) of the N segments that sample, in the given order."""
        self._use_threads()
        row, step = attention.arrange(segments, self._dtype, self._device)
        tokens = [token for segment in row for token in segment.tokens]
        positions = [
            segment.start + offset for segment in row for offset in range(len(segment.tokens))
        ]
        last, end = {}, 0
        for segment in row:
            end += len(segment.tokens)
            last[segment.slot] = end - 1
        keep = [last[segment.slot] for segment in segments if segment.sample]
        self._bank.choose(
            [(segment.scheduled.request.adapter, len(segment.tokens)) for segment in row], keep
        )
        result = self._model(
            input_ids=torch.tensor([tokens], device=self._device),
            position_ids=torch.tensor([positions], device=self._device),
            use_cache=False,
            logits_to_keep=torch.tensor(keep, dtype=torch.long, device=self._device),
            mens_step=step,
            mens_cache=self._cache,
        ).logits[0]
        assert isinstance(result, torch.Tensor)
        return result

    def load_adapter(self, adapter: interface.AdapterFiles) -> None:
        """Make an adapter usable in the next step."""
        self._bank.add(adapter.digest, lora.read(adapter.folder, self._model))
        _log.info("adapter %s is resident (%d ranks in all)", adapter.digest, self._bank.ranks)

    def _use_threads(self) -> None:
        # The number of OpenMP threads belongs to the thread that calls, so it is set here.
        if not self._threads_set:
            torch.set_num_threads(self._threads)
            self._threads_set = True


def load(
    folder: Path,
    *,
    slots: int,
    max_context: int,
    threads: int,
    dtype: torch.dtype | None = None,
    device: torch.device = CPU,
    adapters: int = 0,
    limit: int | None = None,
) -> NativeRunner:
    """Load a checked model folder.

    Args:
        folder: The model.
        slots: Requests to compute together; fewer where memory does not hold them.
        max_context: Most tokens of prompt and answer together.
        threads: CPU threads to compute with.
        dtype: Number format; None takes what the device computes fastest.
        device: Where everything is computed.
        adapters: How many will be loaded later and need room too.
        limit: Bytes of memory; None bounds nothing.

    Raises:
        InvalidModelError: The folder is not a model that this server can load, or it does not fit.
    """
    import transformers  # noqa: PLC0415  # seconds of import; HTTP answers meanwhile

    settings = model_validation.check_base(folder)
    torch.set_num_threads(threads)
    transformers.AttentionInterface.register(attention.IMPLEMENTATION, attention.attend)
    (architecture,) = settings["architectures"]
    model_class = getattr(transformers, architecture)
    config = model_class.config_class(**settings)
    chosen = dtype or dtypes.choose_dtype(config.hidden_size, config.intermediate_size, device)
    try:
        model = model_class.from_pretrained(
            str(folder),
            config=config,
            dtype=chosen,
            attn_implementation=attention.IMPLEMENTATION,
            use_safetensors=True,
            local_files_only=True,
        )
        folder_tokenizer = tokenizer.FolderTokenizer(folder)
    except (OSError, ValueError, RuntimeError, KeyError, safetensors.SafetensorError) as error:
        raise model_validation.InvalidModelError(
            reasons.BASE_MODEL_INVALID, f"The base model cannot be loaded: {error}"
        ) from error
    context = min(max_context, _longest(config))
    fits = memory.fit(_needs(model, context, adapters), slots, limit, gpu=device.type == "cuda")
    if fits.note:
        _log.warning("%s", fits.note)
    model.to(device).eval().requires_grad_(False)
    return NativeRunner(
        model,
        folder_tokenizer,
        stop_tokens=stop_tokens(folder, settings, folder_tokenizer.stop_token),
        slots=fits.slots,
        max_context=context,
        threads=threads,
        note=fits.note,
    )


def best_device() -> torch.device:
    """The GPU, where the pod has one."""
    return torch.device("cuda") if torch.cuda.is_available() else CPU


def memory_of(device: torch.device) -> int | None:
    """Bytes that tensors on the device may take."""
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[1])
    return machine.memory_limit()


def stop_tokens(folder: Path, settings: dict[str, Any], own: int | None) -> frozenset[int]:
    """Every id that the base names as an end: generation config, config and tokenizer."""
    path = folder / "generation_config.json"
    generation = json.loads(path.read_bytes()) if path.exists() else {}
    found = {own} if own is not None else set()
    for value in (generation.get("eos_token_id"), settings.get("eos_token_id")):
        found.update(value if isinstance(value, list) else [] if value is None else [value])
    return frozenset(int(token) for token in found)


def _needs(model: Any, context: int, adapters: int) -> memory.Needs:
    config, size = model.config, model.dtype.itemsize
    weights = sum(item.numel() * item.element_size() for item in model.parameters())
    heads = config.num_hidden_layers * config.num_key_value_heads
    return memory.Needs(
        fixed=memory.RUNTIME + int(weights * (1 + adapters * memory.ADAPTER_SHARE)),
        position=2 * heads * _head_size(config) * size,
        context=context,
    )


def _head_size(config: Any) -> int:
    own = getattr(config, "head_dim", None)
    return int(own or config.hidden_size // config.num_attention_heads)


def _longest(config: Any) -> int:
    window = getattr(config, "sliding_window", None)
    if window and getattr(config, "use_sliding_window", True):
        # Within the window, windowed attention and full attention are the same.
        return min(int(config.max_position_embeddings), int(window))
    return int(config.max_position_embeddings)
