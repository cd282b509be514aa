"""MensServe: a Deployment and a Service, once base and adapters are verified and fit together.

What runs is never taken down because of an adapter that does not: the Deployment then stays as it
was, and a condition says what is wrong.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import pydantic

from mens.api import conditions, jobs, reasons, serve, trainrun
from mens.artifacts import digests, manifests, refs
from mens.provenance import obligations
from mens_operator.manifests import platform, pods, serving
from mens_operator.plans import endings, facts, observing, outcomes, stating


@dataclass(frozen=True)
class _Adapter:
    """What is known about one adapter."""

    wanted: serve.Adapter
    ref: refs.ArtifactRef | None
    """Which artifact it is, as far as that is known."""
    served: bool
    """Whether that artifact is part of the configuration."""
    trouble: facts.Trouble | None
    """What is wrong; None for one that is right, or that is still being asked about."""
    compliance: manifests.Compliance | None = None
    """What one owes for serving it; None unless its manifest could be read."""
    note: str = ""
    """What there is to say of one that is right."""


def plan(
    resource: serve.MensServe,
    observed: outcomes.Observed,
    *,
    now: datetime,
    installation: platform.Platform,
    policy: outcomes.Policy,
) -> outcomes.Outcome:
    """Decide what should exist for a MensServe."""
    return _Plan(resource, observed, now, installation, policy).outcome()


class _Plan:
    """One look at one endpoint."""

    def __init__(
        self,
        resource: serve.MensServe,
        observed: outcomes.Observed,
        now: datetime,
        installation: platform.Platform,
        policy: outcomes.Policy,
    ) -> None:
        self.resource = resource
        self.observed = observed
        self.installation = installation
        self.policy = policy
        self.facts = facts.Facts(observed.answers)
        self.children = observing.children(observed.children, resource.metadata)
        self.draft = stating.Draft(
            resource.status.conditions,
            conditions.SERVE,
            generation=resource.metadata.generation,
            now=now,
        )
        self.requeue: list[float] = []

    def outcome(self) -> outcomes.Outcome:
        """Plan."""
        uri = self.resource.spec.base_model.uri
        base = self.facts.base(uri)
        adapters = [self._adapter(wanted, base) for wanted in self.resource.spec.adapters]
        if self.facts.asked:
            return outcomes.Outcome(questions=tuple(self.facts.asked), requeue_after=1.0)
        obstacle = self._judge(base, adapters)
        objects: tuple[Mapping[str, Any], ...] = ()
        if obstacle is None and isinstance(base, facts.Artifact):
            objects = self._objects(base.digest, adapters)
        else:
            objects = self._scaled()
        self._ready(obstacle, applied=bool(objects))
        return outcomes.Outcome(
            objects=objects,
            status=self._status(base, adapters).wire(),
            notes=self.draft.notes(conditions.READY),
            requeue_after=min(self.requeue, default=None),
        )

    # -- adapters ------------------------------------------------------------------------------

    def _adapter(
        self, wanted: serve.Adapter, base: facts.Artifact | facts.Trouble | None
    ) -> _Adapter:
        last, ref = self._last(wanted), self._resolve(wanted)
        note = ""
        if isinstance(ref, facts.Trouble):
            if last is None or ref.reason != reasons.TRAIN_RUN_NOT_FOUND:
                return _Adapter(wanted, last, last is not None, ref)
            ref, note = last, "The run is gone; what it published goes on being served."
        answer = self.facts.output(str(ref.uri), str(ref.digest))
        if answer is None:
            return _Adapter(wanted, ref, False, None)
        if isinstance(answer, facts.Trouble):
            kept = last if answer.storage else None
            return _Adapter(wanted, kept or ref, kept is not None, answer)
        trouble = _misfit(wanted, answer, base) if isinstance(base, facts.Artifact) else None
        if trouble is not None:
            return _Adapter(wanted, ref, False, trouble)
        return _Adapter(wanted, ref, True, None, answer.manifest.compliance, note)

    def _last(self, wanted: serve.Adapter) -> refs.ArtifactRef | None:
        """Return what has been verified and served under this name from the same place."""
        run = wanted.train_run_ref.name if wanted.train_run_ref else None
        for said in self.resource.status.adapters:
            if said.name != wanted.name or not said.ready or said.train_run != run:
                continue
            given = wanted.artifact
            if said.uri and said.digest and (given is None or given.digest == said.digest):
                return _ref(said.uri, said.digest)
        return None

    def _resolve(self, wanted: serve.Adapter) -> refs.ArtifactRef | facts.Trouble:
        """Find out which artifact is meant."""
        if wanted.artifact is not None:
            return _ref(wanted.artifact.uri, wanted.artifact.digest)
        name = wanted.train_run_ref.name if wanted.train_run_ref else ""
        where = self.resource.metadata.namespace
        raw = self.observed.references.get(("MensTrainRun", name))
        if raw is None:
            text = f"There is no MensTrainRun {name} in namespace {where}: apply one, or correct"
            return facts.Trouble(
                reasons.TRAIN_RUN_NOT_FOUND, f"{text} trainRunRef of adapter {wanted.name}."
            )
        try:
            run = trainrun.MensTrainRun.model_validate(raw)
        except pydantic.ValidationError:
            return facts.Trouble(reasons.TRAIN_RUN_NOT_FOUND, f"MensTrainRun {name} is unreadable.")
        if run.status.artifact is not None and run.status.completion_time is not None:
            return _ref(run.status.artifact.uri, run.status.artifact.digest)
        top = [item for item in run.status.conditions if item.type == conditions.SUCCEEDED]
        why = f" ({top[0].reason})" if top else ""
        text = f"MensTrainRun {name} has not succeeded yet{why}: kubectl describe mtr -n {where}"
        return facts.Trouble(reasons.TRAIN_RUN_NOT_READY, f"{text} {name}")

    # -- conditions ----------------------------------------------------------------------------

    def _judge(
        self, base: facts.Artifact | facts.Trouble | None, adapters: list[_Adapter]
    ) -> facts.Trouble | None:
        """Set the conditions about inputs; return what keeps it all from being applied."""
        troubles = [adapter.trouble for adapter in adapters if adapter.trouble]
        if isinstance(base, facts.Trouble):
            troubles.insert(0, base)
        self._judge_storage([trouble for trouble in troubles if trouble.storage])
        required = [
            adapter.trouble
            for adapter in adapters
            if adapter.trouble and not adapter.wanted.optional
        ]
        self._judge_adapters(adapters, required, known=isinstance(base, facts.Artifact))
        obstacle = base if isinstance(base, facts.Trouble) else None
        if isinstance(base, facts.Artifact):
            obstacle = self._judge_license(base, adapters)
        return obstacle or (required[0] if required else None)

    def _judge_storage(self, broken: list[facts.Trouble]) -> None:
        if not broken:
            self.draft.set(
                conditions.STORAGE_READY,
                stating.TRUE,
                reasons.STORAGE_READY,
                "The store answers.",
            )
            return
        first = broken[0]
        self.draft.set(conditions.STORAGE_READY, stating.FALSE, first.reason, first.message)
        age = self.draft.age(conditions.STORAGE_READY, stating.FALSE)
        self.requeue.append(self.policy.storage.since(age))

    def _judge_adapters(
        self, adapters: list[_Adapter], required: list[facts.Trouble], *, known: bool
    ) -> None:
        """Judge the adapters; whether they fit is open until the base is known."""
        if not required and not known:
            text = "Whether the adapters fit is seen once the base is there."
            self.draft.set(conditions.ADAPTERS_READY, stating.UNKNOWN, reasons.PENDING, text)
        elif not required:
            good = sum(adapter.trouble is None for adapter in adapters)
            text = f"{good} of {len(adapters)} adapters are verified and fit the base."
            self.draft.set(conditions.ADAPTERS_READY, stating.TRUE, reasons.ADAPTERS_READY, text)
        else:
            first = required[0]
            self.draft.set(conditions.ADAPTERS_READY, stating.FALSE, first.reason, first.message)
        if any(adapter.trouble for adapter in adapters):
            age = self.draft.age(conditions.ADAPTERS_READY, stating.FALSE)
            self.requeue.append(self.policy.wrong_input.since(age))

    def _judge_license(
        self, base: facts.Artifact, adapters: list[_Adapter]
    ) -> facts.Trouble | None:
        """Clear the base; the endpoint owes what base and served adapters ask for together."""
        trouble = base.license
        if trouble is not None:
            self.draft.set(
                conditions.LICENSE_CLEARED, stating.FALSE, trouble.reason, trouble.message
            )
            self.requeue.append(self.policy.wrong_input.first)
            return trouble
        unclear = [
            adapter.trouble
            for adapter in adapters
            if adapter.trouble
            and not adapter.wanted.optional
            and endings.condition_of(adapter.trouble.reason, "") == conditions.LICENSE_CLEARED
        ]
        if unclear:
            said_of_it = (unclear[0].reason, unclear[0].message)
            self.draft.set(conditions.LICENSE_CLEARED, stating.FALSE, *said_of_it)
            return None
        served = [adapter.compliance for adapter in adapters if adapter.compliance is not None]
        said = obligations.join([base.manifest.compliance, *served])
        text = (
            f"{said.license_expression}: {said.license_class}, attribution required: "
            f"{said.attribution_required}. GET /attribution says what to show."
        )
        self.draft.set(conditions.LICENSE_CLEARED, stating.TRUE, reasons.LICENSE_CLEARED, text)
        return None

    def _ready(self, obstacle: facts.Trouble | None, *, applied: bool) -> None:
        """Mirror the Deployment; what stands in the way of the spec is said first."""
        deployment, wanted = self.children.deployment, self.resource.spec.replicas
        state, reason, text = stating.FALSE, reasons.PROGRESSING, "Pods are being started."
        if obstacle is not None:
            serving_on = deployment is not None and deployment.ready > 0
            tail = " What ran before goes on serving." if serving_on else ""
            reason, text = obstacle.reason, obstacle.message + tail
            age = self.draft.age(conditions.READY, stating.FALSE)
            self.requeue.append(self.policy.wrong_input.since(age))
        elif applied or deployment is None or not deployment.settled:
            text = "The Deployment was just changed."
        elif wanted == 0:
            reason, text = reasons.SCALED_TO_ZERO, "spec.replicas is 0: scale up to be answered."
        elif deployment.updated == deployment.ready == deployment.replicas == wanted:
            url = serving.endpoint(self.resource.metadata)
            state, reason, text = stating.TRUE, reasons.SERVING, f"Ask {url}/v1/models"
        else:
            reason, text = self._why_not(deployment)
        self.draft.set(conditions.READY, state, reason, text)

    def _why_not(self, deployment: observing.Deployment) -> tuple[str, str]:
        """Give the reason of the first pod that says one."""
        count = f"{deployment.ready} of {deployment.wanted} pods are ready."
        where = f"-n {self.resource.metadata.namespace}"
        for pod in self.children.pods:
            if pod.waiting is not None and not pod.deleting:
                reason, words = pod.waiting
                more = f"kubectl describe pod {where} {pod.name}"
                return reason, f"{count} {observing.sentence(words)} See {more}"
            if pod.ended is not None and not pod.ready and not pod.deleting:
                verdict = endings.of_container(pod.ended)
                more = f"kubectl logs {where} {pod.name} --previous"
                return verdict.reason, f"{count} {verdict.message} See {more}"
        return reasons.PROGRESSING, f"{count} Loading a model takes a while."

    # -- objects and status --------------------------------------------------------------------

    def _scaled(self) -> tuple[Mapping[str, Any], ...]:
        """Return what runs with other replicas: for that nothing need be read.

        Only if what runs can be built again from the status to the same template; otherwise more
        than the replicas has changed, and that has to wait.
        """
        is_there, digest = self.children.deployment, self.resource.status.base_digest
        if is_there is None or digest is None:
            return ()
        adapters = [
            _Adapter(each, last, True, None)
            for each in self.resource.spec.adapters
            if (last := self._last(each)) is not None
        ]
        deployment = self._deployment(digests.Digest.parse(digest), adapters)
        same = is_there.applied_hash == serving.hash_of(deployment)
        changed = is_there.wanted != self.resource.spec.replicas
        return (deployment,) if same and changed else ()

    def _deployment(self, base: digests.Digest, adapters: list[_Adapter]) -> dict[str, Any]:
        meta, spec = self.resource.metadata, self.resource.spec
        work = jobs.ServeJob(
            # The generation stays out: scaling must not restart pods.
            resource=jobs.Resource(
                namespace=meta.namespace, name=meta.name, uid=meta.uid, generation=0
            ),
            base=refs.ArtifactRef(uri=refs.Uri.parse(spec.base_model.uri), digest=base),
            base_name=spec.base_name,
            adapters=tuple(
                jobs.ServedAdapter(
                    name=adapter.wanted.name,
                    artifact=adapter.ref,
                    required=not adapter.wanted.optional,
                )
                for adapter in adapters
                if adapter.served and adapter.ref is not None
            ),
            port=serving.PORT,
            threads=pods.threads(spec.resources),
            max_batch_size=spec.limits.max_batch_size,
            max_queue_length=spec.limits.max_queue_length,
            max_tokens=spec.limits.max_tokens,
        )
        return serving.deployment(
            installation=self.installation,
            metadata=meta,
            work=work,
            resources=spec.resources,
            replicas=spec.replicas,
        )

    def _objects(
        self, base: digests.Digest, adapters: list[_Adapter]
    ) -> tuple[Mapping[str, Any], ...]:
        """Return what has to be applied: only what is missing or was built from something else."""
        deployment = self._deployment(base, adapters)
        service = serving.service(metadata=self.resource.metadata)
        is_there = self.children.deployment
        out: list[Mapping[str, Any]] = []
        if self.children.service_hash != serving.hash_of(service):
            out.append(service)
        if (
            is_there is None
            or is_there.applied_hash != serving.hash_of(deployment)
            or is_there.wanted != self.resource.spec.replicas
        ):
            out.append(deployment)
        return tuple(out)

    def _status(
        self, base: facts.Artifact | facts.Trouble | None, adapters: list[_Adapter]
    ) -> serve.MensServeStatus:
        before, meta = self.resource.status, self.resource.metadata
        deployment = self.children.deployment
        selector = ",".join(
            f"{name}={value}" for name, value in sorted(serving.selector(meta).items())
        )
        return serve.MensServeStatus(
            observed_generation=meta.generation,
            conditions=self.draft.done(),
            replicas=deployment.replicas if deployment else 0,
            ready_replicas=deployment.ready if deployment else 0,
            selector=selector,
            endpoint=serving.endpoint(meta),
            base_digest=(
                str(base.digest) if isinstance(base, facts.Artifact) else before.base_digest
            ),
            adapters=tuple(_state(adapter) for adapter in adapters),
        )


def _ref(uri: str, digest: str) -> refs.ArtifactRef:
    return refs.ArtifactRef(uri=refs.Uri.parse(uri), digest=digests.Digest.parse(digest))


def _misfit(
    wanted: serve.Adapter, adapter: facts.Artifact, base: facts.Artifact
) -> facts.Trouble | None:
    """Return why an adapter cannot run on a base: they are compared by digest."""
    if adapter.manifest.kind is not manifests.Kind.ADAPTER:
        text = f"Adapter {wanted.name} names an artifact of kind {adapter.manifest.kind}."
        return facts.Trouble(reasons.ADAPTER_INVALID, f"{text} Give the artifact of a train run.")
    if adapter.license is not None:
        return adapter.license
    trained_on = adapter.manifest.input(manifests.Role.BASE)
    if trained_on is not None and trained_on.digest == base.digest:
        return None
    said = trained_on.digest if trained_on else "no base at all"
    return facts.Trouble(
        reasons.BASE_MISMATCH,
        f"Adapter {wanted.name} was trained on {said}, the endpoint serves {base.digest}. Train it"
        " on this base, or serve it in a MensServe of its own base.",
    )


def _state(adapter: _Adapter) -> serve.AdapterStatus:
    trouble, run = adapter.trouble, adapter.wanted.train_run_ref
    return serve.AdapterStatus(
        name=adapter.wanted.name,
        ready=adapter.served,
        train_run=run.name if run else None,
        reason=trouble.reason if trouble else reasons.ADAPTERS_READY,
        message=trouble.message if trouble else adapter.note,
        uri=str(adapter.ref.uri) if adapter.ref else None,
        digest=str(adapter.ref.digest) if adapter.ref else None,
    )
