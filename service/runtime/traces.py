"""OpenTelemetry spans of jobs that ended and of webhooks that were tried.

They are built from what the store keeps, so that nothing is collected while a job runs.
"""

import hashlib
import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from queue import Empty, SimpleQueue
from threading import Thread
from typing import Any
from urllib.parse import urlsplit

from opentelemetry.context import Context
from opentelemetry.sdk.resources import OTELResourceDetector, Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter
from opentelemetry.sdk.trace.id_generator import RandomIdGenerator
from opentelemetry.trace import Link, Span, SpanKind, StatusCode, set_span_in_context
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from service.domain import topics
from service.domain.attempt import Stage
from service.domain.event import Delivery, Try
from service.domain.ids import JobId
from service.domain.job import Job, JobState
from service.domain.topics import Topic
from service.store import attempts, jobs
from service.store.attempts import Attempt
from service.store.database import Database

log = logging.getLogger(__name__)

_MAX_WAITING = 10_000
_MAX_BATCH = 50  # their spans fit the queue of the SDK
_STOP_SECONDS = 2.0
_MILLISECOND = timedelta(milliseconds=1)


@dataclass(frozen=True)
class _WebhookTry:
    job_id: JobId
    delivery: Delivery
    outcome: Try


class Traces:
    """A thread that emits the spans of each job that this process ended, and of each webhook that
    it tried. So, of several processes on one database, exactly one emits a span."""

    def __init__(self, exporter: SpanExporter, version: str) -> None:
        """The SDK reads its sampler, limits and resource from OTEL_ variables."""
        self._processor = BatchSpanProcessor(exporter)
        self._spans = _JobSpans(version)
        self._spans.provider.add_span_processor(self._processor)
        self._waiting: SimpleQueue[JobId | _WebhookTry | None] = SimpleQueue()
        self._num_dropped = 0

    def start(self, db: Database) -> None:
        self._thread = Thread(target=self._run, args=(db,), name="traces", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Wait a moment until what waits is sent."""
        self._waiting.put(None)
        self._thread.join(_STOP_SECONDS)

    def on_commit(self, changed: Sequence[Topic]) -> None:
        """Note the jobs that ended in a commit of this process."""
        for topic in changed:
            if (job_id := topics.ended_job(topic)) is not None:
                self._add(job_id)

    def on_try(self, delivery: Delivery, outcome: Try) -> None:
        """Note a try at a delivery; one of `webhook.test` belongs to no job."""
        if delivery.job_id is not None:
            self._add(_WebhookTry(delivery.job_id, delivery, outcome))

    def _add(self, item: JobId | _WebhookTry) -> None:
        if self._waiting.qsize() < _MAX_WAITING:
            self._waiting.put(item)
        else:
            self._num_dropped += 1

    def _run(self, db: Database) -> None:
        while (item := self._waiting.get()) is not None:
            batch = [item, *self._more()]
            try:
                self._emit(db, batch)
            except Exception as fault:
                log.error("spans could not be made", exc_info=fault, extra={"count": len(batch)})
            if self._num_dropped:
                log.warning(
                    "the collector is too slow; spans are missing",
                    extra={"jobs": self._num_dropped},
                )
                self._num_dropped = 0
        self._spans.provider.shutdown()

    def _more(self) -> Iterator[JobId | _WebhookTry]:
        """Yield what waits besides, up to a batch; the end stays for the next time."""
        for _ in range(_MAX_BATCH - 1):
            try:
                item = self._waiting.get_nowait()
            except Empty:
                return
            if item is None:
                self._waiting.put(None)
                return
            yield item

    def _emit(self, db: Database, batch: Sequence[JobId | _WebhookTry]) -> None:
        ids = [item if isinstance(item, str) else item.job_id for item in batch]
        rows = db.read(lambda tx: jobs.get_all(tx, ids))  # without jobs that were deleted since
        sources = [job.retry_of for job in rows.values() if job.retry_of is not None]
        retry_sources = db.read(lambda tx: jobs.get_all(tx, sources)) if sources else {}
        for item, job_id in zip(batch, ids, strict=True):
            job = rows.get(job_id)
            if job is None:
                continue
            if isinstance(item, _WebhookTry):
                self._spans.emit_try(job, item.delivery, item.outcome)
            else:
                tries = db.read(partial(attempts.of_job, job_id=job_id))
                self._spans.emit_job(job, tries, retry_sources.get(job.retry_of or job_id))
        self._processor.force_flush()  # a burst would overflow the queue of the SDK


class _JobIds(RandomIdGenerator):
    """Ids that are random but for the span of a job, whose ids follow from the job's: later spans
    belong to it, by whichever process they are emitted."""

    job_id: JobId | None = None

    def generate_span_id(self) -> int:
        return self._derive(0, 8) or super().generate_span_id()

    def generate_trace_id(self) -> int:
        return self._derive(8, 24) or super().generate_trace_id()

    def _derive(self, start: int, end: int) -> int:
        if self.job_id is None:
            return 0
        return int.from_bytes(hashlib.sha256(self.job_id.encode()).digest()[start:end], "big")


class _JobSpans:
    """Builds spans. No attribute is a prompt, a URL or another text of a customer."""

    def __init__(self, version: str) -> None:
        self._ids = _JobIds()
        own = Resource.create({"service.name": "rushes", "service.version": version})
        resource = own.merge(OTELResourceDetector().detect())  # OTEL_SERVICE_NAME wins
        # At the exit the SDK would wait half a minute for a collector that is away.
        self.provider = TracerProvider(
            resource=resource, id_generator=self._ids, shutdown_on_exit=False
        )
        self._tracer = self.provider.get_tracer("rushes", version)

    def emit_job(self, job: Job, tries: Sequence[Attempt], source: Job | None) -> None:
        """Emit the spans of a final job, linked to the job that it retries."""
        assert job.finished_at is not None, "final"
        links = [] if source is None else [Link(self._start_job(source).get_span_context())]
        span = self._start_job(job, links)
        submit = self._child(
            span,
            "send jobs",
            (job.created_at, job.created_at),
            kind=SpanKind.PRODUCER,
            attributes=_message(job, "send"),
        )
        queued_at = job.created_at
        for attempt in tries:
            self._child(span, "queue", (queued_at, attempt.created_at))
            queued_at = attempt.ended_at or job.finished_at
            link = Link(submit.get_span_context())
            self._emit_attempt(span, job, attempt, (attempt.created_at, queued_at), link)
        if not tries or queued_at < job.finished_at:  # no attempt ended the job
            self._child(span, "queue", (queued_at, job.finished_at))
        if job.state in (JobState.FAILED, JobState.EXPIRED):
            _set_error(span, job.error.code if job.error is not None else "expired")
        span.end(_ns(job.finished_at))

    def emit_try(self, job: Job, delivery: Delivery, outcome: Try) -> None:
        answer = {} if outcome.status is None else {"http.response.status_code": outcome.status}
        self._child(
            self._start_job(job),
            "POST webhook",
            (outcome.at - outcome.duration_ms * _MILLISECOND, outcome.at),
            kind=SpanKind.CLIENT,
            error=outcome.error or (None if outcome.succeeded else str(outcome.status)),
            attributes={
                "http.request.method": "POST",
                "http.request.resend_count": delivery.attempt,
                "server.address": urlsplit(delivery.url).hostname or "",
                "rushes.webhook.event": delivery.event,
                "rushes.webhook.delivery": delivery.id,
                **answer,
            },
        )

    def _start_job(self, job: Job, links: Sequence[Link] = ()) -> Span:
        """Start the span of a whole job, within the caller's trace if it sent a `traceparent`. One
        that is not ended is not sent, and tells the ids and whether they are sampled."""
        caller = TraceContextTextMapPropagator().extract(
            {} if job.traceparent is None else {"traceparent": job.traceparent}, Context()
        )
        self._ids.job_id = job.id
        try:
            return self._tracer.start_span(
                f"job {job.request.model}",
                caller,
                links=links,
                start_time=_ns(job.created_at),
                attributes={
                    "rushes.job.id": job.id,
                    "rushes.job.kind": job.request.kind,
                    "rushes.job.state": job.state,
                    "rushes.job.priority": job.priority,
                    "rushes.key.id": job.key_id,
                    "rushes.cost.usd": job.actual_usd or 0.0,
                },
            )
        finally:
            self._ids.job_id = None

    def _emit_attempt(
        self,
        parent: Span,
        job: Job,
        attempt: Attempt,
        period: tuple[datetime, datetime],
        link: Link,
    ) -> None:
        span = self._child(
            parent,
            "process jobs",
            period,
            kind=SpanKind.CONSUMER,
            links=[link],
            error=attempt.error_kind,
            attributes={
                **_message(job, "process"),
                "gen_ai.operation.name": "generate_content",
                "gen_ai.provider.name": "rushes",
                "gen_ai.request.model": attempt.model or job.request.model,
                "rushes.attempt.number": attempt.number,
                "rushes.attempt.outcome": attempt.outcome or "",
                "rushes.attempt.restarts": attempt.restarts,
                "rushes.worker": attempt.worker,
            },
        )
        created_at, ended_at = period
        self._child(span, "start", (created_at, attempt.started_at or ended_at))
        if attempt.started_at is not None and attempt.number == job.attempt:
            self._emit_stages(span, job, attempt.started_at)

    def _emit_stages(self, parent: Span, job: Job, begun_at: datetime) -> None:
        """Lay the stages one after the other. Only durations are known; they do not overlap, as
        `encode` is without what was encoded while frames were generated."""
        times = job.timings_ms or {}
        for stage in Stage:
            if stage in times:
                ended_at = begun_at + times[stage] * _MILLISECOND
                code = job.error.code if job.error is not None and stage is job.stage else None
                self._child(parent, stage, (begun_at, ended_at), error=code)
                begun_at = ended_at

    def _child(
        self,
        parent: Span,
        name: str,
        period: tuple[datetime, datetime],
        error: str | None = None,
        **options: Any,
    ) -> Span:
        """Emit a span with these options of the SDK's `start_span`."""
        start, end = period
        context = set_span_in_context(parent, Context())
        span = self._tracer.start_span(name, context, start_time=_ns(start), **options)
        if error is not None:
            _set_error(span, error)
        span.end(_ns(max(start, end)))  # the clock may have been set back meanwhile
        return span


def _set_error(span: Span, code: str) -> None:
    span.set_attribute("error.type", code)
    span.set_status(StatusCode.ERROR, code)


def _message(job: Job, operation: str) -> dict[str, str]:
    return {
        "messaging.system": "rushes",
        "messaging.destination.name": "jobs",
        "messaging.operation.name": operation,
        "messaging.operation.type": operation,
        "messaging.message.id": job.id,
    }


def _ns(moment: datetime) -> int:
    return round(moment.timestamp() * 1_000_000) * 1000
