"""Numbers for Prometheus, under vLLM's names where it has one, so that gateways can route to us."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from typing import Final

import prometheus_client
from prometheus_client import core, registry

from mens_server import model_registry
from mens_server.protocol import generation

_SECONDS: Final = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600)


class Metrics:
    """The counters of one server, in a registry of its own."""

    def __init__(
        self,
        stats: Callable[[], generation.Stats | None],
        ready: Callable[[], bool],
        models: model_registry.ModelRegistry,
        base_name: str,
    ) -> None:
        self.registry = prometheus_client.CollectorRegistry()
        labels = ["model_name"]
        self._prompt = prometheus_client.Counter(
            "vllm:prompt_tokens", "Tokens of prompts.", labels, registry=self.registry
        )
        self._generated = prometheus_client.Counter(
            "vllm:generation_tokens", "Tokens of answers.", labels, registry=self.registry
        )
        self._success = prometheus_client.Counter(
            "vllm:request_success", "Answers.", [*labels, "finished_reason"], registry=self.registry
        )
        self._first = prometheus_client.Histogram(
            "vllm:time_to_first_token_seconds",
            "Time to the first token.",
            labels,
            buckets=_SECONDS,
            registry=self.registry,
        )
        self._whole = prometheus_client.Histogram(
            "vllm:e2e_request_latency_seconds",
            "Time of whole answers.",
            labels,
            buckets=_SECONDS,
            registry=self.registry,
        )
        self._refused = prometheus_client.Counter(
            "mens_server_refusals",
            "Requests that were not answered.",
            ["code"],
            registry=self.registry,
        )
        self.registry.register(_Now(stats, ready, models, base_name))

    def begin(self, model: str, prompt_tokens: int) -> Timing:
        """A request was admitted."""
        self._prompt.labels(model).inc(prompt_tokens)
        return Timing(self, model)

    def refused(self, code: str) -> None:
        """A request was not answered."""
        self._refused.labels(code).inc()

    def page(self) -> bytes:
        """Text for a scrape."""
        return prometheus_client.generate_latest(self.registry)


class Timing:
    """One answer's numbers."""

    def __init__(self, metrics: Metrics, model: str) -> None:
        self._metrics = metrics
        self._model = model
        self._began = time.monotonic()
        self._tokens = 0

    def token(self, count: int) -> None:
        """So many tokens were generated so far."""
        if self._tokens == 0:
            self._metrics._first.labels(self._model).observe(time.monotonic() - self._began)
        self._metrics._generated.labels(self._model).inc(count - self._tokens)
        self._tokens = count

    def end(self, finish: str) -> None:
        """The answer ended: stop, length or abort."""
        self._metrics._success.labels(self._model, finish).inc()
        self._metrics._whole.labels(self._model).observe(time.monotonic() - self._began)


class _Now(registry.Collector):
    """Gauges that are read when somebody scrapes."""

    def __init__(
        self,
        stats: Callable[[], generation.Stats | None],
        ready: Callable[[], bool],
        models: model_registry.ModelRegistry,
        base_name: str,
    ) -> None:
        self._stats = stats
        self._ready = ready
        self._models = models
        self._base_name = base_name

    def collect(self) -> Iterable[core.Metric]:
        """All gauges."""
        yield core.GaugeMetricFamily(
            "mens_server_ready", "1 when requests are welcome.", value=float(self._ready())
        )
        held = core.GaugeMetricFamily(
            "mens_server_model_info", "Models that are served.", labels=["model_name", "digest"]
        )
        for entry in self._models.entries():
            held.add_metric([entry.name, entry.digest], 1)
        yield held
        stats = self._stats()
        if stats is None:
            return
        for name, text, value in (
            ("vllm:num_requests_running", "Requests that hold a slot.", stats.running),
            ("vllm:num_requests_waiting", "Requests in the queue.", stats.waiting),
            ("vllm:kv_cache_usage_perc", "Share of cache positions in use.", stats.cache_usage),
            ("mens_server_slots", "Requests that can run together.", stats.slots),
        ):
            gauge = core.GaugeMetricFamily(name, text, labels=["model_name"])
            gauge.add_metric([self._base_name], value)
            yield gauge
        adapters = core.GaugeMetricFamily(
            "vllm:lora_requests_info",
            "Adapters in use.",
            labels=["max_lora", "running_lora_adapters", "waiting_lora_adapters"],
        )
        by_digest = {
            entry.digest: entry.name for entry in self._models.entries() if entry.is_adapter
        }
        running = ",".join(by_digest.get(digest, digest) for digest in stats.running_adapters)
        adapters.add_metric([str(len(by_digest)), running, ""], time.time())
        yield adapters
