"""The course of a run: attempts that lead from a spec to a verified artifact.

What MensCorpus and MensTrainRun have in common. The memory lies in the status: `jobName` says which
inputs and which attempt, `nextAttemptTime` that this attempt has ended early and was recorded,
`completionTime` that the run is over. Nothing is written in the pass that creates a Job, since its
event follows at once: a smooth run costs one Job and two statuses.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from typing import Any

from mens.api import condition_types, kube, reasons, status
from mens.runtime import jobs
from mens_operator.manifests import batch, names
from mens_operator.plans import (
    children,
    conditions,
    facts,
    failures,
    outcomes,
    run_kinds,
    run_status,
)


class Course(run_status.Telling[run_kinds.StatusT]):
    """Plans one run, once."""

    # -- where the run is ----------------------------------------------------------------------

    @property
    def recorded(self) -> tuple[str, int] | None:
        """Key and number of the last attempt whose end is in the status."""
        before = self.terms.status
        over = before.next_attempt_time is not None or before.completion_time is not None
        return names.parse_job(before.job_name) if over else None

    def is_over(self, same_inputs: bool) -> bool:
        """Whether the run has reached an end that still answers to its spec."""
        before = self.terms.status
        good = self.draft.was(condition_types.SUCCEEDED, conditions.TRUE)
        bad = self.draft.was(condition_types.SUCCEEDED, conditions.FALSE)
        # Unknown with a completion time: that end answers to an older spec, and the new one waits.
        if before.completion_time is None or not (good or bad):
            return False
        same_spec = before.observed_generation == self.terms.metadata.generation
        return same_spec or (good and same_inputs)

    def live(self) -> children.Job | None:
        """Return the Job of the current attempt, running or ended but not recorded."""
        recorded, current = self.recorded, names.parse_job(self.terms.status.job_name)
        for job in reversed(self.children.jobs):
            old = recorded and job.key == recorded[0] and job.attempt <= recorded[1]
            # Without its own Job (suspended, deleted) an attempt must not fall back to the one
            # before: that one's end was counted already.
            older = current and job.key == current[0] and job.attempt < current[1]
            if job.spec in self.terms.spec_keys and not (job.deleting or old or older):
                return job
        return None

    def is_outdated(self, job: children.Job) -> bool:
        """Whether it waits to run in a way that the spec no longer asks for.

        A pod that works keeps the resources that it has: they change how, not what, and a restart
        would cost all that it has done. One that waits may be waiting for just that change.
        """
        keys = self.terms.spec_keys
        same = job.shape == self.terms.shape if job.shape else job.spec == keys[-1]
        pods = self.children.pods_of(job)
        # An evicted pod has ended: what is asked is whether its replacement works.
        working = any(pod.phase != "Pending" and not pod.finished for pod in pods)
        started = job.ready > 0 or working
        return not (same or started or job.finished)

    # -- what to do ----------------------------------------------------------------------------

    def over(self) -> outcomes.Outcome:
        """Keep the end; delete the resource when its time has come."""
        ttl, ended = self.terms.ttl_seconds, self.terms.status.completion_time
        if ttl is None or ended is None:
            return self._outcome()
        left = (ended + timedelta(seconds=ttl) - self.now).total_seconds()
        if left > 0:
            return self._outcome(requeue_after=left)
        meta = self.terms.metadata
        itself = outcomes.Removal(
            kube.API_VERSION, self.terms.kind, meta.namespace, meta.name, meta.uid
        )
        return outcomes.Outcome(removals=(itself,))

    def suspended(self) -> outcomes.Outcome:
        """Stop what runs; the same attempt goes on later from its checkpoint."""
        text = "spec.suspend is true: set it to false to go on."
        for type_ in (condition_types.QUEUED, condition_types.RUNNING):
            self.draft.set(type_, conditions.FALSE, reasons.SUSPENDED, text)
        self.draft.set(condition_types.SUCCEEDED, conditions.UNKNOWN, reasons.SUSPENDED, text)
        unfinished = [job for job in self.children.jobs if not job.finished and not job.deleting]
        return self._outcome(removals=self._removals(unfinished))

    def blocked(self, *obstacles: run_kinds.Obstacle) -> outcomes.Outcome:
        """Say what stands in the way, and look again after a pause that grows."""
        pauses = []
        for obstacle in reversed(obstacles):  # The first one of a type is the one that stays.
            trouble = obstacle.trouble
            type_ = failures.condition_of(trouble.reason, obstacle.type)
            state = conditions.UNKNOWN if obstacle.waiting else conditions.FALSE
            self.draft.set(type_, state, trouble.reason, trouble.message)
            backoff = self.policy.storage if trouble.storage else self.policy.wrong_input
            pauses.append(backoff.since(self.draft.age(type_, state)))
        self._withdraw({failures.condition_of(it.trouble.reason, it.type) for it in obstacles})
        first = obstacles[0].trouble
        self.draft.set(condition_types.SUCCEEDED, conditions.UNKNOWN, first.reason, first.message)
        self._idle(first.reason, first.message)
        foreign = [
            job
            for job in self.children.jobs
            if job.spec not in self.terms.spec_keys and not job.finished and not job.deleting
        ]
        return self._outcome(removals=self._removals(foreign), requeue_after=min(pauses))

    def asking(self) -> outcomes.Outcome:
        """Wait for facts; nothing is known that could be written."""
        return outcomes.Outcome(questions=tuple(self.facts.asked), requeue_after=1.0)

    def replace(self, job: children.Job) -> outcomes.Outcome:
        """Take away a Job whose pod has not begun; the same attempt follows as the spec says."""
        return outcomes.Outcome(removals=self._removals([job]), requeue_after=1.0)

    def start(
        self, keys: Sequence[tuple[str, str]], build: Callable[[batch.Attempt], Mapping[str, Any]]
    ) -> outcomes.Outcome:
        """Create the Job of the next attempt when it is due and the store works.

        `keys` are pairs of key and spec's key: today's first, the one that it goes by wins.
        """
        before, recorded = self.terms.status, self.recorded
        current = names.parse_job(before.job_name)
        key, spec = next((pair for pair in keys if current and pair[0] == current[0]), keys[0])
        # An attempt that is not recorded as ended goes on under its own number.
        number = current[1] if current and current[0] == key else 1
        number += 1 if recorded and recorded[0] == key else 0
        if number > 1 and before.next_attempt_time is not None:
            left = (before.next_attempt_time - self.now).total_seconds()
            touched = before.observed_generation != self.terms.metadata.generation
            if left > 0 and not touched:
                return self._outcome(requeue_after=left)
            # Whatever else has to be waited for: the pause is over for this spec.
            due = min(before.next_attempt_time, self.now.replace(microsecond=0))
            self._changes["next_attempt_time"] = due
        works = self.facts.storage(self.terms.bucket)
        if works is None:
            return self.asking()
        if isinstance(works, facts.Trouble):
            return self.blocked(run_kinds.Obstacle(condition_types.STORAGE_READY, works))
        name = names.job(self.terms.metadata.name, key, number)
        old = [job for job in self.children.jobs if job.key != key or job.attempt < number - 1]
        removals = self._removals(old)
        rivals = [pod for pod in self.children.pods if pod.works_on(key)]
        if rivals:
            return self._yield_to(rivals[0], removals)
        if any(job.name == name and job.deleting for job in self.children.jobs):
            return outcomes.Outcome(removals=removals, requeue_after=2.0)
        job = build(batch.Attempt(key, spec, self.terms.shape, number))
        return outcomes.Outcome(
            objects=(job,), removals=removals, requeue_after=self.policy.start_grace
        )

    def follow(self, job: children.Job) -> outcomes.Outcome:
        """Mirror a Job that exists."""
        self._adopt(job)
        if job.complete:
            return self._verify(job)
        if job.failed is not None:
            return self._ended(job)
        pods = self.children.pods_of(job)
        # An evicted pod stays beside its replacement: the one that may still work is the one.
        newest = next(
            (pod for pod in reversed(pods) if not pod.finished), pods[-1] if pods else None
        )
        if newest is not None and newest.is_stuck(self.now, self.policy.stuck_grace):
            return self._lost(newest)
        started = job.ready > 0 or (newest is not None and newest.phase != "Pending")
        # A finished Job is for a moment neither active nor Complete: what ran goes on running.
        ran = self.terms.status.job_name == job.name and self.draft.was(
            condition_types.RUNNING, conditions.TRUE
        )
        waits = newest is not None and newest.phase == "Pending" and newest.waiting is not None
        if started or (ran and not waits and not job.suspended):
            return self._running(job, newest)
        left = self._left(self.policy.start_grace, job.created)
        if left > 0:
            return outcomes.Outcome(requeue_after=left)
        return self._queued(job, newest)

    # -- states of a Job -----------------------------------------------------------------------

    def _running(self, job: children.Job, pod: children.Pod | None) -> outcomes.Outcome:
        logs = f"kubectl logs -n {self.terms.metadata.namespace} -f job/{job.name}"
        text = f"Attempt {job.attempt} runs in pod {pod.name if pod else '?'}: {logs}"
        self.draft.set(condition_types.RUNNING, conditions.TRUE, reasons.RUNNING, text)
        self.draft.set(condition_types.QUEUED, conditions.FALSE, reasons.RUNNING, "The pod runs.")
        self.draft.set(condition_types.SUCCEEDED, conditions.UNKNOWN, reasons.RUNNING, text)
        progress = self._progress(job)
        self._mirror(progress)
        self._clear(working=self._proves_inputs(progress, job))
        wait = self.policy.progress_interval
        if pod is not None and pod.due is not None:  # on its way out, unless its node is lost
            wait = min(wait, self._until_stuck(pod))
        return self._outcome(requeue_after=wait)

    def _yield_to(
        self, pod: children.Pod, removals: tuple[outcomes.Removal, ...]
    ) -> outcomes.Outcome:
        """Wait for a pod that still works: two on one output would fight over checkpoints.

        A deleted Job is gone at once, its pod when the garbage collector has come to it and its
        grace is over: until then nothing but the pod itself tells of it.
        """
        if pod.is_stuck(self.now, self.policy.stuck_grace):
            return self._lost(pod, removals)
        where = f"-n {self.terms.metadata.namespace} {pod.name}"
        text = (
            f"Pod {pod.name} of an earlier attempt has not ended yet: the next attempt begins"
            f" when it has (kubectl delete pod {where} ends it now)."
        )
        self._waiting(reasons.POD_ENDING, text)
        return self._outcome(removals=removals, requeue_after=self._until_stuck(pod))

    def _lost(
        self, pod: children.Pod, removals: tuple[outcomes.Removal, ...] = ()
    ) -> outcomes.Outcome:
        """Say that a pod can neither be used nor replaced: only a person knows if it still runs."""
        node, where = pod.node or "<name>", f"-n {self.terms.metadata.namespace} {pod.name}"
        text = (
            f"Pod {pod.name} should have ended at {pod.due:%H:%M:%S} UTC: node {node} does not"
            f" answer. Bring it back, or, if it is off for good, kubectl delete node {node}"
            f" (or kubectl delete pod {where} --force); the run then goes on by itself."
        )
        self._waiting(reasons.NODE_LOST, text)
        return self._outcome(removals=removals, requeue_after=60.0)

    def _queued(self, job: children.Job, pod: children.Pod | None) -> outcomes.Outcome:
        reason, words = reasons.QUEUED, job.said
        if pod is not None and pod.waiting is not None:
            reason, words = pod.waiting[0], children.sentence(pod.waiting[1])
        step = failures.step(reason, job, pod, self.terms.metadata.namespace)
        text = f"{children.shortened(words)} {step}".strip()
        self._clear(working=False)
        self._waiting(reason, f"{text} {self._keep_cause(job)}".strip())
        return self._outcome(requeue_after=60.0)

    def _verify(self, job: children.Job) -> outcomes.Outcome:
        """Success is what the store holds, never an exit code."""
        folder = self.terms.output(job.key)
        answer = self.facts.output(folder, self._announced(job))
        if answer is None:
            return self.asking()
        if isinstance(answer, facts.Trouble):
            if answer.storage:
                return self._unverified(answer)
            missing = answer.reason == reasons.OBJECT_NOT_FOUND
            reason = reasons.OUTPUT_MISSING if missing else answer.reason
            return self._record(
                job, failures.Verdict(failures.Class.DEFECT, reason, answer.message)
            )
        return self._succeed(job, answer)

    def _announced(self, job: children.Job) -> str | None:
        """Return the digest that the pod says it published."""
        for pod in reversed(self.children.pods_of(job)):
            if pod.ended and pod.ended.termination:
                artifact = pod.ended.termination.artifact
                return str(artifact.digest) if artifact else None
        return None

    def _unverified(self, trouble: facts.Trouble) -> outcomes.Outcome:
        text = f"The Job is done, but its output cannot be verified yet: {trouble.message}"
        self.draft.set(
            condition_types.STORAGE_READY, conditions.FALSE, trouble.reason, trouble.message
        )
        self.draft.set(condition_types.SUCCEEDED, conditions.UNKNOWN, reasons.VERIFYING, text)
        self._idle(reasons.VERIFYING, "The Job is done.")
        wait = self.policy.storage.since(
            self.draft.age(condition_types.STORAGE_READY, conditions.FALSE)
        )
        return self._outcome(requeue_after=wait)

    def _succeed(self, job: children.Job, found: facts.Artifact) -> outcomes.Outcome:
        manifest, folder = found.manifest, self.terms.output(job.key)
        self._mirror(self.facts.progress(folder, final=True), done=True)
        self._changes |= {
            "completion_time": job.finished_at or self.now,
            "artifact": status.Artifact(
                uri=folder, digest=str(found.digest), size_bytes=manifest.size_bytes
            ),
            "compliance": run_kinds.compliance(found),
            "lineage": run_kinds.lineage(found),
            **self.terms.result(found),
        }
        text = " ".join(
            filter(
                None,
                (
                    f"Published {folder} as {found.digest}, verified.",
                    self.terms.doubt(found),
                    self.terms.next_step,
                ),
            )
        )
        self._clear(working=True)
        self._idle(reasons.SUCCEEDED, "The Job is done.")
        self.draft.set(condition_types.SUCCEEDED, conditions.TRUE, reasons.SUCCEEDED, text)
        words = f"{manifest.compliance.license_expression}: {manifest.compliance.license_class}."
        state, reason = conditions.TRUE, reasons.LICENSE_CLEARED
        if found.license is not None:
            state, reason, words = conditions.FALSE, found.license.reason, found.license.message
        self.draft.set(condition_types.LICENSE_CLEARED, state, reason, words)
        ttl = self.terms.ttl_seconds
        return self._outcome(requeue_after=None if ttl is None else float(ttl))

    def _ended(self, job: children.Job) -> outcomes.Outcome:
        verdict = failures.verdict(job, self.children.pods_of(job))
        if verdict is None:
            left = self._left(self.policy.verdict_grace, job.finished_at or job.created)
            if left > 0:
                return outcomes.Outcome(requeue_after=left)
            verdict = failures.lost()
        return self._record(job, verdict)

    def _record(self, job: children.Job, verdict: failures.Verdict) -> outcomes.Outcome:
        """Write down that an attempt ended early: the end of the run, or when the next begins."""
        self._idle(verdict.reason, verdict.message)
        for type_, (reason, text) in self.terms.cleared.items():
            if type_ != self.terms.inputs_type:
                self.draft.set(type_, conditions.TRUE, reason, text)
        final = self._final(job, verdict)
        if final is not None:
            reason, text = final
            self._changes["completion_time"] = job.finished_at or self.now
            self.draft.set(condition_types.SUCCEEDED, conditions.FALSE, reason, text)
            return self._outcome()
        ended = min(job.finished_at or self.now, self.now)
        due = (ended + timedelta(seconds=self._pause(verdict, job))).replace(microsecond=0)
        if due <= self.now:
            due = self.now.replace(microsecond=0) + timedelta(seconds=1)
        self._changes["next_attempt_time"] = due
        text = f"{verdict.message} Attempt {job.attempt + 1} follows at {due:%H:%M:%S} UTC"
        smaller = self._changes.get("micro_batch_size")
        text += f" with schedule.microBatchSize {smaller}." if smaller else "."
        if verdict.kind in (failures.Class.WRONG_INPUT, failures.Class.STORAGE):
            type_ = failures.condition_of(verdict.reason, self.terms.inputs_type)
            self.draft.set(type_, conditions.FALSE, verdict.reason, verdict.message)
        self.draft.set(condition_types.SUCCEEDED, conditions.UNKNOWN, verdict.reason, text)
        return self._outcome(requeue_after=(due - self.now).total_seconds())

    def _final(self, job: children.Job, verdict: failures.Verdict) -> tuple[str, str] | None:
        """Return reason and message if no attempt follows; else count this one."""
        limit, counted = self.terms.retry_limit, self._attempts()
        if verdict.kind is failures.Class.POINTLESS:
            return verdict.reason, verdict.message
        if verdict.kind is failures.Class.DEADLINE:
            # The Job had the deadline of its time; if that was raised since, the run goes on.
            same = job.deadline == self.terms.deadline_seconds
            return (verdict.reason, verdict.message) if same else None
        if verdict.kind is failures.Class.MEMORY:
            less = self.terms.shrink(self.terms.status.model_copy(update=self._changes))
            if less is not None:
                self._changes |= less
                return None
        if verdict.kind not in (failures.Class.DEFECT, failures.Class.MEMORY):
            return None
        self._changes["attempts"] = counted + 1
        if counted + 1 <= limit:
            return None
        memory = verdict.kind is failures.Class.MEMORY
        logs = f"See kubectl logs -n {self.terms.metadata.namespace} job/{job.name}."
        reason = verdict.reason if memory else reasons.RETRIES_EXHAUSTED
        text = f"{verdict.message} That was attempt {counted + 1} of {limit + 1}."
        return reason, text if memory else f"{text} {logs}"

    def _pause(self, verdict: failures.Verdict, job: children.Job) -> float:
        backoffs = {
            failures.Class.WRONG_INPUT: self.policy.wrong_input,
            failures.Class.STORAGE: self.policy.storage,
            failures.Class.PREEMPTED: self.policy.preempted,
        }
        return backoffs.get(verdict.kind, self.policy.defect).after(job.attempt)

    def _progress(self, job: children.Job) -> jobs.Progress | None:
        """Return how far this attempt is; the file of one before it says nothing."""
        progress = self.facts.progress(self.terms.output(job.key))
        theirs = progress is not None and progress.attempt not in (0, job.attempt)
        return None if theirs else progress

    def _proves_inputs(self, progress: jobs.Progress | None, job: children.Job) -> bool:
        """Whether a step shows that all inputs are right; an unnumbered file may be an old one.

        What this Job has proved once stays so while its progress cannot be read.
        """
        mine = progress is not None and progress.step > 0 and progress.attempt == job.attempt
        same = self.terms.status.job_name == job.name
        proved = same and self.draft.was(self.terms.inputs_type, conditions.TRUE)
        return self.terms.progress_proves_inputs and (mine or proved)
