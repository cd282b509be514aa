"""MensServe: a Deployment and a Service, once base and adapters are verified and fit together.

A running endpoint is never taken down because of an invalid adapter: the Deployment then stays
unchanged, and a condition reports the problem.
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
    return _EndpointPlan(resource, observed, now, installation, policy).outcome()


class _EndpointPlan:
    """Plans one endpoint, once."""

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
        self.children = children.parse(observed.children, resource.metadata)
        self.conditions = conditions.ConditionSet(
            resource.status.conditions,
            condition_types.SERVE,
            generation=resource.metadata.generation,
            now=now,
        )
        self.now = now
        self.requeue: list[float] = []
        self.lost_field = ""
        """Message about a field that another client has changed; empty if none has."""
        self.load_failure: failures.Failure | None = None
        """Why a pod could not load its configuration."""
        deployment = self.children.deployment
        self.serve_job = deployment.serve_job if deployment else None
        """Configuration of the pods, once this outcome is applied."""

    def outcome(self) -> outcomes.Outcome:
        """Plan."""
        uri = self.resource.spec.base_model.uri
        base = self.facts.base_model(uri)
        context = adapters.Context(
            namespace=self.resource.metadata.namespace,
            references=self.observed.references,
            previous={each.name: each for each in self.resource.status.adapters},
            base=base,
            facts=self.facts,
        )
        found = [adapters.evaluate(each, context) for each in self.resource.spec.adapters]
        if self.facts.open:
            return outcomes.Outcome(queries=tuple(self.facts.open), requeue_after=1.0)
        blocker = self._set_input_conditions(base, found)
        objects: tuple[Mapping[str, Any], ...] = ()
        if blocker is None and isinstance(base, facts.Artifact):
            objects = self._objects(base.digest, found)
        else:
            objects = self._scaled()
        self._set_ready(blocker, applied=bool(objects))
        return outcomes.Outcome(
            objects=objects,
            status=self._status(
                base, [self._adapter_status(each, context) for each in found]
            ).wire(),
            events=self.conditions.events(condition_types.READY),
            requeue_after=min(self.requeue, default=None),
        )

    # -- conditions ----------------------------------------------------------------------------

    def _set_input_conditions(
        self, base: facts.Artifact | facts.Problem | None, found: list[adapters.Adapter]
    ) -> facts.Problem | None:
        """Set the conditions about inputs; return the problem that blocks the configuration."""
        problems = [adapter.problem for adapter in found if adapter.problem]
        if isinstance(base, facts.Problem):
            problems.insert(0, base)
        self._set_storage_ready([problem for problem in problems if problem.storage])
        required = [
            adapter.problem for adapter in found if adapter.problem and not adapter.spec.optional
        ]
        self._set_adapters_ready(found, required, base_known=isinstance(base, facts.Artifact))
        blocker = base if isinstance(base, facts.Problem) else None
        if isinstance(base, facts.Artifact):
            blocker = self._set_license_cleared(base, found)
        return blocker or (required[0] if required else None)

    def _set_storage_ready(self, problems: list[facts.Problem]) -> None:
        if not problems:
            self.conditions.set(
                condition_types.STORAGE_READY,
                conditions.TRUE,
                reasons.STORAGE_READY,
                "The object store responds.",
            )
            return
        first = problems[0]
        self.conditions.set(
            condition_types.STORAGE_READY, conditions.FALSE, first.reason, first.message
        )
        age = self.conditions.age(condition_types.STORAGE_READY, conditions.FALSE)
        self.requeue.append(self.policy.storage.for_age(age))

    def _set_adapters_ready(
        self, found: list[adapters.Adapter], required: list[facts.Problem], *, base_known: bool
    ) -> None:
        """Set AdaptersReady; whether adapters fit is unknown until the base model is."""
        type_ = condition_types.ADAPTERS_READY
        if not required and not base_known:
            text = "The adapters are checked once the base model is available."
            self.conditions.set(type_, conditions.UNKNOWN, reasons.PENDING, text)
        elif not required:
            good = sum(adapter.problem is None for adapter in found)
            text = f"{good} of {len(found)} adapters are verified and fit the base model."
            self.conditions.set(type_, conditions.TRUE, reasons.ADAPTERS_READY, text)
        else:
            first = required[0]
            self.conditions.set(type_, conditions.FALSE, first.reason, first.message)
        if any(adapter.problem for adapter in found):
            age = self.conditions.age(type_, conditions.FALSE)
            self.requeue.append(self.policy.invalid_input.for_age(age))

    def _set_license_cleared(
        self, base: facts.Artifact, found: list[adapters.Adapter]
    ) -> facts.Problem | None:
        """Set LicenseCleared; the obligations are those of the base and the served adapters."""
        type_, problem = condition_types.LICENSE_CLEARED, base.license
        if problem is not None:
            self.conditions.set(type_, conditions.FALSE, problem.reason, problem.message)
            self.requeue.append(self.policy.invalid_input.initial)
            return problem
        not_cleared = [
            adapter.problem
            for adapter in found
            if adapter.problem
            and not adapter.spec.optional
            and failures.condition_for(adapter.problem.reason, "") == type_
        ]
        if not_cleared:
            first = not_cleared[0]
            self.conditions.set(type_, conditions.FALSE, first.reason, first.message)
            return None
        served = [adapter.compliance for adapter in found if adapter.compliance is not None]
        joined = obligations.join([base.manifest.compliance, *served])
        text = (
            f"{joined.license_expression}: {joined.license_class}, attribution required: "
            f"{joined.attribution_required}. GET /attribution returns the text to show."
        )
        self.conditions.set(type_, conditions.TRUE, reasons.LICENSE_CLEARED, text)
        return None

    def _set_ready(self, blocker: facts.Problem | None, *, applied: bool) -> None:
        """Set Ready from the Deployment; a problem that blocks the spec comes first."""
        deployment, replicas = self.children.deployment, self.resource.spec.replicas
        state, reason, text = conditions.FALSE, reasons.PROGRESSING, "The pods are starting."
        if blocker is not None:
            serving_ = deployment is not None and deployment.ready_replicas > 0
            tail = " The previous configuration keeps serving." if serving_ else ""
            reason, text = blocker.reason, blocker.message + tail
            age = self.conditions.age(condition_types.READY, conditions.FALSE)
            self.requeue.append(self.policy.invalid_input.for_age(age))
        elif self.lost_field:
            reason, text = reasons.OBJECT_CHANGED, self.lost_field
        elif applied or deployment is None or not deployment.observed:
            text = "The Deployment has just changed."
        elif replicas == 0:
            reason = reasons.SCALED_TO_ZERO
            text = "spec.replicas is 0. Scale up to get answers."
        elif (
            deployment.updated_replicas
            == deployment.ready_replicas
            == deployment.replicas
            == replicas
        ):
            url = serving.endpoint(self.resource.metadata)
            state, reason, text = conditions.TRUE, reasons.SERVING, f"Serving at {url}/v1/models"
        else:
            reason, text = self._pod_problem(deployment)
        self.conditions.set(condition_types.READY, state, reason, text)

    def _pod_problem(self, deployment: children.Deployment) -> tuple[str, str]:
        """Return reason and message of the first pod that reports a problem."""
        count = f"{deployment.ready_replicas} of {deployment.desired_replicas} pods are ready."
        where = f"-n {self.resource.metadata.namespace}"
        for pod in self._newest_pods():
            if pod.waiting is not None:
                reason, message = pod.waiting
                more = f"kubectl describe pod {where} {pod.name}"
                return reason, f"{count} {children.sentence(message)} See {more}"
            if pod.terminated is not None and not pod.ready:
                failure = failures.of_container(pod.terminated)
                self._set_load_failure(failure)
                more = f"kubectl logs {where} {pod.name} --previous"
                return failure.reason, f"{count} {failure.message} See {more}"
        return reasons.PROGRESSING, f"{count} Loading a model takes a while."

    def _newest_pods(self) -> list[children.Pod]:
        """Return the pods of the newest pod template; the Deployment replaces the others."""
        pods = [pod for pod in self.children.pods if not pod.deleting]
        return [pod for pod in pods if pod.template_hash == pods[-1].template_hash]

    def _set_load_failure(self, failure: failures.Failure) -> None:
        """Report in its condition what a server found wrong that no manifest shows."""
        failure_class = failure.failure_class
        if failure_class is failures.FailureClass.STORAGE:
            type_ = condition_types.STORAGE_READY
        elif failure_class is failures.FailureClass.INVALID_INPUT:
            type_ = failures.condition_for(failure.reason, condition_types.ADAPTERS_READY)
        else:
            return
        self.load_failure = failure
        if type_ == condition_types.ADAPTERS_READY and failure.adapter is None:
            text = "The adapters are checked once the base model can be loaded."
            self.conditions.set(type_, conditions.UNKNOWN, reasons.PENDING, text)
        else:
            self.conditions.set(type_, conditions.FALSE, failure.reason, failure.message)

    # -- objects and status --------------------------------------------------------------------

    def _scaled(self) -> tuple[Mapping[str, Any], ...]:
        """Return the current Deployment with other replicas; scaling needs no valid inputs."""
        deployment, replicas = self.children.deployment, self.resource.spec.replicas
        if deployment is None or deployment.desired_replicas == replicas:
            return ()
        current = deployment.applied.object
        return (serving.scaled(current, replicas),) if current.get("spec") else ()

    def _build_serve_job(
        self, base: digests.Digest, found: list[adapters.Adapter]
    ) -> jobs.ServeJob:
        meta, spec = self.resource.metadata, self.resource.spec
        return jobs.ServeJob(
            # Without the generation: scaling must not restart pods.
            resource=jobs.Resource(
                namespace=meta.namespace, name=meta.name, uid=meta.uid, generation=0
            ),
            base=refs.ArtifactRef(uri=refs.Uri.parse(spec.base_model.uri), digest=base),
            base_name=spec.base_name,
            adapters=tuple(
                jobs.ServedAdapter(
                    name=adapter.spec.name,
                    artifact=adapter.ref,
                    required=not adapter.spec.optional,
                )
                for adapter in found
                if adapter.served and adapter.ref is not None
            ),
            port=serving.PORT,
            threads=pods.threads(spec.resources),
            max_batch_size=spec.limits.max_batch_size,
            max_queue_length=spec.limits.max_queue_length,
            max_tokens=spec.limits.max_tokens,
        )

    def _objects(
        self, base: digests.Digest, found: list[adapters.Adapter]
    ) -> tuple[Mapping[str, Any], ...]:
        """Return the objects to apply: missing, built from another manifest, or changed."""
        serve_job = self._build_serve_job(base, found)
        deployment = serving.deployment(
            installation=self.installation,
            metadata=self.resource.metadata,
            work=serve_job,
            resources=self.resource.spec.resources,
            replicas=self.resource.spec.replicas,
        )
        service = serving.service(metadata=self.resource.metadata)
        current = self.children.deployment
        objects: list[Mapping[str, Any]] = []
        if self._differs(service, self.children.service):
            objects.append(service)
        scales = current is not None and current.desired_replicas != self.resource.spec.replicas
        if self._differs(deployment, current.applied if current else None) or scales:
            self.serve_job = serve_job
            objects.append(deployment)
        return tuple(objects)

    def _differs(self, desired: Mapping[str, Any], current: children.AppliedObject | None) -> bool:
        """Return whether an object must be applied; changes by others are undone at intervals."""
        if current is None or current.hash != serving.hash_of(desired):
            return True
        if current.owned_fields is None or current.applied_at is None:
            return False
        # Replicas are compared separately.
        spec = {name: value for name, value in desired["spec"].items() if name != "replicas"}
        field = field_ownership.lost_field(spec, current.owned_fields.get("f:spec") or {"": {}})
        if field is None:
            return False
        kind, name = desired["kind"], desired["metadata"]["name"]
        where = f"-n {self.resource.metadata.namespace} {kind.lower()} {name}"
        self.lost_field = (
            f"Another client has changed {field} of {kind} {name}; the operator restores it. To see"
            f" which client: kubectl get {where} -o yaml --show-managed-fields"
        )
        age = (self.now - current.applied_at).total_seconds()
        left = self.policy.correction_interval - age
        if left > 0:
            self.requeue.append(left)
        return left <= 0

    def _adapter_status(
        self, adapter: adapters.Adapter, context: adapters.Context
    ) -> serve.AdapterStatus:
        applied = self.serve_job.adapters if self.serve_job else ()
        mine = next((each for each in applied if each.name == adapter.spec.name), None)
        found = adapters.status(adapter, mine, context)
        if self.load_failure is None or self.load_failure.adapter != found.name:
            return found
        failed = {"reason": self.load_failure.reason, "message": self.load_failure.message}
        return found.model_copy(update={"ready": False, **failed})

    def _status(
        self,
        base: facts.Artifact | facts.Problem | None,
        adapter_statuses: list[serve.AdapterStatus],
    ) -> serve.MensServeStatus:
        previous, meta = self.resource.status, self.resource.metadata
        deployment = self.children.deployment
        selector = ",".join(
            f"{name}={value}" for name, value in sorted(serving.selector(meta).items())
        )
        return serve.MensServeStatus(
            observed_generation=meta.generation,
            conditions=self.conditions.build(),
            replicas=deployment.replicas if deployment else 0,
            ready_replicas=deployment.ready_replicas if deployment else 0,
            selector=selector,
            endpoint=serving.endpoint(meta),
            base_digest=(
                str(base.digest) if isinstance(base, facts.Artifact) else previous.base_digest
            ),
            adapters=tuple(adapter_statuses),
        )
