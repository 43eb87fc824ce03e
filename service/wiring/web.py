"""Build and run the web process: its runtime, ticks and webhook courier."""

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from threading import Event
from typing import TYPE_CHECKING

from fastapi import FastAPI

from service.api.event_stream import EventBlocks
from service.api.webhook_body import WebhookBodies
from service.domain import ids, topics
from service.domain.clock import ServiceClock
from service.domain.errors import Unavailable
from service.domain.job import OWN_API
from service.domain.topics import Topic
from service.egress.client import Egress
from service.environment import tool_environment
from service.lifecycle.bulk import BulkRunner
from service.lifecycle.leader import Leadership
from service.lifecycle.likenesses import Voices
from service.lifecycle.rescue import Rescuer, Unserved
from service.lifecycle.retention import Retention
from service.lifecycle.speech import SpeechMaker
from service.lifecycle.timekeeper import Timekeeper
from service.runtime.disk_space import DiskSpace
from service.runtime.fleet import Fleet
from service.runtime.input_check import InputCheck
from service.runtime.job_cache import JobCache
from service.runtime.key_cache import KeyCache
from service.runtime.notifier import Notifier
from service.runtime.queue_forecast import QueueForecast
from service.runtime.runtime import Runtime
from service.runtime.speaker import Speaker
from service.runtime.submit import retry_again
from service.runtime.throttles import Throttles
from service.runtime.ticker import Ticker
from service.runtime.uploads import Uploads
from service.settings import Settings
from service.store import speeches, timeline
from service.store.database import Database
from service.store.durability import Offsite
from service.store.engine import check_durable, check_sessions
from service.store.schema import check_schema
from service.webhooks.deliver import Courier, Sender
from service.wiring import rules, speech, storage
from service.wiring import secrets as wiring_secrets
from service.wiring.traces import build_traces
from service.wiring.workers import build_workers

if TYPE_CHECKING:
    from service.runtime.traces import Traces

log = logging.getLogger(__name__)

_TICK_SECONDS = 1.0
# By the API that a job came through.
WEBHOOK_BODIES = {OWN_API: WebhookBodies}


@contextmanager
def serving(
    app: FastAPI,
    settings: Settings,
    notifier: Notifier,
    clock: ServiceClock,
    offsite: Offsite | None = None,
) -> Iterator[None]:
    """Open the database, run the ticks and serve requests until the context exits."""
    _check_database(settings.database_url)
    webhooks_due = Event()
    traces = build_traces(rules.VERSION)
    runtime = _build_runtime(settings, notifier, webhooks_due, clock, offsite, traces)
    runtime.uploads.clear()
    leadership = Leadership(runtime.db)
    timekeeper = _timekeeper(runtime, leadership, clock)
    wiring_secrets.ensure_admin_key(settings, runtime.db, clock())
    ticker = _build_ticker(runtime, timekeeper)
    beside = (ticker, _build_courier(runtime, webhooks_due, traces), _build_speaker(runtime))
    app.state.runtime = runtime
    if traces is not None:
        traces.start(runtime.db)
    for each in beside:
        each.start()
    runtime.workers.start(runtime.jobs_due)
    try:
        yield
    finally:
        app.state.runtime = None
        runtime.event_feed.close()
        for each in beside:
            each.stop()
        runtime.workers.close()
        if traces is not None:
            traces.stop()
        with suppress(Unavailable):  # the leadership expires by itself
            leadership.leave()
        runtime.db.close()
        runtime.job_cache.clear()


def _check_database(url: str) -> None:
    """Raise Unavailable for a database that is not migrated, or would lose what it acknowledged."""
    check_sessions(url)
    check_schema(url)
    check_durable(url)


def _timekeeper(runtime: Runtime, leadership: Leadership, clock: ServiceClock) -> Timekeeper:
    """Start the timekeeper: new ids and deadlines continue from those in the database."""
    for id_ in runtime.db.read(timeline.newest_ids):
        ids.stay_above(id_)
    # A local file has one process, which need not wait for the leadership of a dead one.
    timekeeper = Timekeeper(runtime.db, clock, None if runtime.db.local else leadership)
    timekeeper.begin()
    return timekeeper


def build_uploads(settings: Settings) -> Uploads:
    return Uploads(
        folder=settings.data_dir / "incoming",
        max_bytes=settings.max_body_bytes,
        max_image_bytes=settings.max_image_bytes,
        max_video_bytes=settings.max_video_bytes,
    )


def _build_ticker(runtime: Runtime, timekeeper: Timekeeper) -> Ticker:
    db, workers, clock = runtime.db, runtime.workers, runtime.clock
    unserved_jobs = Unserved(db, runtime.terms, is_shared=not db.local)
    rescuer = Rescuer(db, runtime.artifacts, runtime.terms, workers, runtime.limits.max_lease)
    grace = runtime.limits.running_lease.total_seconds()
    retention = Retention(db, runtime.artifacts, runtime.terms.retention)
    ticks = [
        unserved_jobs.tick,
        rescuer.tick,
        lambda now: retention.tick(timekeeper.certain_time(now)),
        BulkRunner(db, workers, runtime.artifacts, partial(retry_again, runtime)).tick,
    ]

    def leads() -> bool:
        unserved_jobs.announce_models(clock())
        return timekeeper.is_leading()

    return Ticker(ticks, leads, clock, seconds=_TICK_SECONDS, grace=grace)


def _build_courier(runtime: Runtime, webhooks_due: Event, traces: "Traces | None") -> Courier:
    renders = {
        api: bodies(runtime.link_secret, runtime.public_url).render
        for api, bodies in WEBHOOK_BODIES.items()
    }
    sender = Sender(
        runtime.db,
        Egress(runtime.egress_rules),
        renders,
        runtime.clock,
        on_try=None if traces is None else traces.on_try,
    )
    return Courier(runtime.db, sender, runtime.clock, webhooks_due)


def _build_speaker(runtime: Runtime) -> Speaker:
    if runtime.db.local:  # no other process speaks: an unfinished try was one of this file's last
        now = runtime.clock()
        runtime.db.write(lambda tx: speeches.make_all_due(tx, now)).result()
    maker = SpeechMaker(
        runtime.db,
        runtime.artifacts,
        runtime.voices.find,
        runtime.uploads.folder,
        runtime.clock,
    )
    return Speaker(maker, runtime.speech_due)


def _build_check(has_avatars: bool) -> InputCheck:
    check = InputCheck(tool_environment())
    if has_avatars and not check.finds_faces:
        log.warning("photos are checked by workers alone: install rushes[avatar] here, too")
    return check


def _build_runtime(
    settings: Settings,
    notifier: Notifier,
    webhooks_due: Event,
    clock: ServiceClock,
    offsite: Offsite | None,
    traces: "Traces | None",
) -> Runtime:
    job_cache, key_cache, jobs_due, speech_due = JobCache(), KeyCache(), Event(), Event()

    def on_commit(changed: Sequence[Topic]) -> None:
        job_cache.forget(changed)
        if topics.KEYS in changed:
            key_cache.forget()
        if topics.DELIVERIES in changed:
            webhooks_due.set()
        if topics.SPEECH in changed:
            speech_due.set()
        if any(map(topics.is_queue, changed)):
            jobs_due.set()
        if traces is not None:
            traces.on_commit(changed)
        notifier.notify(changed)

    db = Database(settings.database_url, on_commit, offsite)
    artifacts, cards = storage.artifacts(settings), rules.cards(settings)
    limits, fleet = rules.limits(settings), Fleet()
    link_secret = wiring_secrets.link_secret(settings)
    public_url = settings.public_url.rstrip("/") or None
    return Runtime(
        db=db,
        artifacts=artifacts,
        cards=cards,
        limits=limits,
        terms=rules.terms(settings),
        clock=clock,
        notifier=notifier,
        fleet=fleet,
        workers=build_workers(settings, db, artifacts, fleet, clock),
        key_cache=key_cache,
        forecast=QueueForecast(db),
        job_cache=job_cache,
        throttles=Throttles.of(
            limits,
            requests_per_second=settings.max_requests_per_second,
            submits_per_second=settings.max_submits_per_second,
        ),
        jobs_due=jobs_due,
        webhooks_due=webhooks_due,
        speech_due=speech_due,
        disk_space=DiskSpace(settings.data_dir, settings.min_free_bytes),
        uploads=build_uploads(settings),
        egress_rules=rules.egress_rules(settings),
        event_renderer=EventBlocks(WebhookBodies(link_secret, public_url)),
        voices=Voices(db, speech.catalog(settings)),
        input_check=_build_check(any(card.kind == "avatar" for card in cards.values())),
        link_secret=link_secret,
        worker_token=wiring_secrets.worker_token(settings),
        metrics_token=(
            settings.metrics_token.get_secret_value() if settings.metrics_token else None
        ),
        public_url=public_url,
        version=rules.VERSION,
    )
