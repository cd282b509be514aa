"""MensServe: a Deployment and a Service, once base and adapters are verified and fit together.

What runs is never taken down because of an adapter that does not: the Deployment then stays as it
was, and a condition says what is wrong.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from mens.api import condition_types, reasons, serve
from mens.artifacts import digests, refs
from mens.provenance import obligations
from mens.runtime import jobs
from mens_operator.manifests import platform, pods, serving
from mens_operator.plans import (
    adapters,
    children,
    conditions,
    facts,
    failures,
    field_ownership,
    outcomes,
)


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
        self.children = children.children(observed.children, resource.metadata)
        self.draft = conditions.Draft(
            resource.status.conditions,
            condition_types.SERVE,
            generation=resource.metadata.generation,
            now=now,
        )
        self.now = now
        self.requeue: list[float] = []
        self.changed = ""
        """What somebody else has changed."""
        there = self.children.deployment
        self.refused: failures.Verdict | None = None
        """Why a pod ended that could not load what it is told to serve."""
        self.work = there.work if there else None
        """What the pods are told to serve, once this outcome is applied."""

    def outcome(self) -> outcomes.Outcome:
        """Plan."""
        uri = self.resource.spec.base_model.uri
        base = self.facts.base(uri)
        context = adapters.Context(
            namespace=self.resource.metadata.namespace,
            references=self.observed.references,
            said={said.name: said for said in self.resource.status.adapters},
            base=base,
            facts=self.facts,
        )
        found = [adapters.look(wanted, context) for wanted in self.resource.spec.adapters]
        if self.facts.asked:
            return outcomes.Outcome(questions=tuple(self.facts.asked), requeue_after=1.0)
        obstacle = self._judge(base, found)
        objects: tuple[Mapping[str, Any], ...] = ()
        if obstacle is None and isinstance(base, facts.Artifact):
            objects = self._objects(base.digest, found)
        else:
            objects = self._scaled()
        self._ready(obstacle, applied=bool(objects))
        return outcomes.Outcome(
            objects=objects,
            status=self._status(base, [self._state(each, context) for each in found]).wire(),
            notes=self.draft.notes(condition_types.READY),
            requeue_after=min(self.requeue, default=None),
        )

    # -- conditions ----------------------------------------------------------------------------

    def _judge(
        self, base: facts.Artifact | facts.Trouble | None, adapters: list[adapters.Adapter]
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
                condition_types.STORAGE_READY,
                conditions.TRUE,
                reasons.STORAGE_READY,
                "The store answers.",
            )
            return
        first = broken[0]
        self.draft.set(condition_types.STORAGE_READY, conditions.FALSE, first.reason, first.message)
        age = self.draft.age(condition_types.STORAGE_READY, conditions.FALSE)
        self.requeue.append(self.policy.storage.since(age))

    def _judge_adapters(
        self, adapters: list[adapters.Adapter], required: list[facts.Trouble], *, known: bool
    ) -> None:
        """Judge the adapters; whether they fit is open until the base is known."""
        if not required and not known:
            text = "Whether the adapters fit is seen once the base is there."
            self.draft.set(
                condition_types.ADAPTERS_READY, conditions.UNKNOWN, reasons.PENDING, text
            )
        elif not required:
            good = sum(adapter.trouble is None for adapter in adapters)
            text = f"{good} of {len(adapters)} adapters are verified and fit the base."
            self.draft.set(
                condition_types.ADAPTERS_READY, conditions.TRUE, reasons.ADAPTERS_READY, text
            )
        else:
            first = required[0]
            self.draft.set(
                condition_types.ADAPTERS_READY, conditions.FALSE, first.reason, first.message
            )
        if any(adapter.trouble for adapter in adapters):
            age = self.draft.age(condition_types.ADAPTERS_READY, conditions.FALSE)
            self.requeue.append(self.policy.wrong_input.since(age))

    def _judge_license(
        self, base: facts.Artifact, adapters: list[adapters.Adapter]
    ) -> facts.Trouble | None:
        """Clear the base; the endpoint owes what base and served adapters ask for together."""
        trouble = base.license
        if trouble is not None:
            self.draft.set(
                condition_types.LICENSE_CLEARED, conditions.FALSE, trouble.reason, trouble.message
            )
            self.requeue.append(self.policy.wrong_input.first)
            return trouble
        unclear = [
            adapter.trouble
            for adapter in adapters
            if adapter.trouble
            and not adapter.wanted.optional
            and failures.condition_of(adapter.trouble.reason, "") == condition_types.LICENSE_CLEARED
        ]
        if unclear:
            said_of_it = (unclear[0].reason, unclear[0].message)
            self.draft.set(condition_types.LICENSE_CLEARED, conditions.FALSE, *said_of_it)
            return None
        served = [adapter.compliance for adapter in adapters if adapter.compliance is not None]
        said = obligations.join([base.manifest.compliance, *served])
        text = (
            f"{said.license_expression}: {said.license_class}, attribution required: "
            f"{said.attribution_required}. GET /attribution says what to show."
        )
        self.draft.set(
            condition_types.LICENSE_CLEARED, conditions.TRUE, reasons.LICENSE_CLEARED, text
        )
        return None

    def _ready(self, obstacle: facts.Trouble | None, *, applied: bool) -> None:
        """Mirror the Deployment; what stands in the way of the spec is said first."""
        deployment, wanted = self.children.deployment, self.resource.spec.replicas
        state, reason, text = conditions.FALSE, reasons.PROGRESSING, "Pods are being started."
        if obstacle is not None:
            serving_on = deployment is not None and deployment.ready > 0
            tail = " What ran before goes on serving." if serving_on else ""
            reason, text = obstacle.reason, obstacle.message + tail
            age = self.draft.age(condition_types.READY, conditions.FALSE)
            self.requeue.append(self.policy.wrong_input.since(age))
        elif self.changed:
            reason, text = reasons.OBJECT_CHANGED, self.changed
        elif applied or deployment is None or not deployment.settled:
            text = "The Deployment was just changed."
        elif wanted == 0:
            reason, text = reasons.SCALED_TO_ZERO, "spec.replicas is 0: scale up to be answered."
        elif deployment.updated == deployment.ready == deployment.replicas == wanted:
            url = serving.endpoint(self.resource.metadata)
            state, reason, text = conditions.TRUE, reasons.SERVING, f"Ask {url}/v1/models"
        else:
            reason, text = self._why_not(deployment)
        self.draft.set(condition_types.READY, state, reason, text)

    def _why_not(self, deployment: children.Deployment) -> tuple[str, str]:
        """Give the reason of the first pod that says one."""
        count = f"{deployment.ready} of {deployment.wanted} pods are ready."
        where = f"-n {self.resource.metadata.namespace}"
        for pod in self._newest_pods():
            if pod.waiting is not None:
                reason, words = pod.waiting
                more = f"kubectl describe pod {where} {pod.name}"
                return reason, f"{count} {children.sentence(words)} See {more}"
            if pod.ended is not None and not pod.ready:
                verdict = failures.of_container(pod.ended)
                self._refused(verdict)
                more = f"kubectl logs {where} {pod.name} --previous"
                return verdict.reason, f"{count} {verdict.message} See {more}"
        return reasons.PROGRESSING, f"{count} Loading a model takes a while."

    def _newest_pods(self) -> list[children.Pod]:
        """Return the pods of today's template: the others are on their way out."""
        pods = [pod for pod in self.children.pods if not pod.deleting]
        return [pod for pod in pods if pod.template == pods[-1].template]

    def _refused(self, verdict: failures.Verdict) -> None:
        """Say where it belongs what a server found wrong that no manifest tells."""
        if verdict.kind not in (failures.Class.WRONG_INPUT, failures.Class.STORAGE):
            return
        self.refused = verdict
        type_ = failures.condition_of(verdict.reason, condition_types.ADAPTERS_READY)
        if verdict.kind is failures.Class.STORAGE:
            type_ = condition_types.STORAGE_READY
        if type_ == condition_types.ADAPTERS_READY and verdict.adapter is None:
            text = "Whether the adapters fit is seen once the base can be loaded."
            self.draft.set(type_, conditions.UNKNOWN, reasons.PENDING, text)
        else:
            self.draft.set(type_, conditions.FALSE, verdict.reason, verdict.message)

    # -- objects and status --------------------------------------------------------------------

    def _scaled(self) -> tuple[Mapping[str, Any], ...]:
        """Return what runs with other replicas: for that nothing need be read or agreed."""
        there, replicas = self.children.deployment, self.resource.spec.replicas
        if there is None or there.wanted == replicas or not there.applied.object.get("spec"):
            return ()
        return (serving.scaled(there.applied.object, replicas),)

    def _work(self, base: digests.Digest, adapters: list[adapters.Adapter]) -> jobs.ServeJob:
        meta, spec = self.resource.metadata, self.resource.spec
        return jobs.ServeJob(
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

    def _objects(
        self, base: digests.Digest, adapters: list[adapters.Adapter]
    ) -> tuple[Mapping[str, Any], ...]:
        """Return what has to be applied: what is missing, built from something else, or changed."""
        work = self._work(base, adapters)
        deployment = serving.deployment(
            installation=self.installation,
            metadata=self.resource.metadata,
            work=work,
            resources=self.resource.spec.resources,
            replicas=self.resource.spec.replicas,
        )
        service = serving.service(metadata=self.resource.metadata)
        there = self.children.deployment
        out: list[Mapping[str, Any]] = []
        if self._differs(service, self.children.service):
            out.append(service)
        scales = there is not None and there.wanted != self.resource.spec.replicas
        if self._differs(deployment, there.applied if there else None) or scales:
            self.work = work
            out.append(deployment)
        return tuple(out)

    def _differs(self, wanted: Mapping[str, Any], there: children.Applied | None) -> bool:
        """Whether an object has to be applied; what others changed is put back now and then."""
        if there is None or there.hash != serving.hash_of(wanted):
            return True
        if there.owned is None or there.since is None:
            return False
        # Replicas are compared by themselves.
        spec = {name: value for name, value in wanted["spec"].items() if name != "replicas"}
        field = field_ownership.taken(spec, there.owned.get("f:spec") or {"": {}})
        if field is None:
            return False
        kind, name = wanted["kind"], wanted["metadata"]["name"]
        where = f"-n {self.resource.metadata.namespace} {kind.lower()} {name}"
        who = f"kubectl get {where} -o yaml --show-managed-fields says who"
        text = f"Somebody else has changed {field} of {kind} {name}: it is put back"
        self.changed = f"{text} ({who})."
        left = self.policy.contested - (self.now - there.since).total_seconds()
        if left > 0:
            self.requeue.append(left)
        return left <= 0

    def _state(self, adapter: adapters.Adapter, context: adapters.Context) -> serve.AdapterStatus:
        told = self.work.adapters if self.work else ()
        applied = next((each for each in told if each.name == adapter.wanted.name), None)
        said = adapters.state(adapter, applied, context)
        if self.refused is None or self.refused.adapter != said.name:
            return said
        refused = {"reason": self.refused.reason, "message": self.refused.message}
        return said.model_copy(update={"ready": False, **refused})

    def _status(
        self, base: facts.Artifact | facts.Trouble | None, adapters: list[serve.AdapterStatus]
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
            adapters=tuple(adapters),
        )
