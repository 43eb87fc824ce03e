"""Follow the events of jobs: one reader of the database for all streams of this process."""

import asyncio
import logging
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from itertools import islice
from typing import Any, Protocol, TypeVar

from service.domain import topics
from service.domain.clock import Clock
from service.domain.errors import Unavailable
from service.domain.event import PROGRESS_EVENT, QUEUED_EVENT, Event
from service.domain.ids import EventId, JobId, KeyId
from service.domain.job import EVENT_OF, Job, JobState
from service.domain.topics import Topic
from service.runtime.event_subscription import Message, Subscription
from service.runtime.notifier import Notifier, wait_for_event
from service.store import events, jobs, keys
from service.store.transaction import Transaction

log = logging.getLogger(__name__)

T = TypeVar("T")

_SNAPSHOT_SECONDS = 0.5  # between two snapshots of a job
_MAX_SNAPSHOTS = 100  # in this time; other jobs have their turn in the next
# With several processes a notification may be missed while one of them reconnects.
_LOOK_AGAIN_SECONDS = 2.0
_PAGE = 50
_MAX_JOBS = 2_000  # remembered: above it, progress is left out or told twice


class Read(Protocol):
    """Runs a read of the database."""

    def __call__(self, run: Callable[[Transaction], T]) -> Awaitable[T]: ...


class Renderer(Protocol):
    """Renders the blocks that streams send."""

    def data(self, job: Job) -> dict[str, Any]:
        """Return the job as clients see it; equal while they would see no change."""

    def block(
        self, kind: str, at: datetime, data: dict[str, Any], event_id: EventId | None
    ) -> bytes: ...

    def position(self, event_id: EventId) -> bytes:
        """Return a block that tells clients nothing, but the id to resume behind."""


class EventFeed:
    """Reads the database once for each wake-up, whatever the number of streams.

    Changes of state are read from the events table, and none is left out. Progress is read from the
    jobs themselves, at most every half a second: of its events only the newest is kept, and they
    are recorded at every 5 % only.

    `settle` waits until what was read cannot be lost any more: else its id might be used again.
    """

    def __init__(
        self,
        notifier: Notifier,
        renderer: Renderer,
        clock: Clock,
        *,
        read: Read,
        settle: Callable[[], Awaitable[None]],
    ) -> None:
        self._notifier = notifier
        self._renderer = renderer
        self._clock = clock
        self._read = read
        self._settle = settle
        self._subscriptions: defaultdict[KeyId, set[Subscription]] = defaultdict(set)
        self._num_streams: Counter[JobId | None] = Counter()  # by job; None: of a whole key
        self._newcomers: defaultdict[JobId, list[Subscription]] = defaultdict(list)
        self._changed_jobs: dict[JobId, None] = {}
        self._shown_jobs: dict[JobId, dict[str, Any]] = {}  # as clients saw them last
        self._snapshots_at = 0.0
        self._cursor = EventId(0)
        self._wake = asyncio.Event()
        self._lock = asyncio.Lock()  # a stream that joins during a read would miss a part of it
        self._task: asyncio.Task[None] | None = None
        self._is_closed = False

    @asynccontextmanager
    async def subscribe(
        self, key_id: KeyId, job_id: JobId | None, position: EventId | None, viewer: KeyId
    ) -> AsyncIterator[Subscription]:
        """Register a stream, for `follow`; it ends with the key `viewer`. Raises Unavailable."""
        subscription = Subscription(key_id, job_id, position, viewer)
        async with self._lock:
            if self._is_closed or self._notifier.closed:
                raise Unavailable("the service is stopping")
            if self._task is None:
                self._cursor = await self._read(events.newest)
                self._task = asyncio.create_task(self._run())
            self._subscriptions[key_id].add(subscription)
            self._num_streams[job_id] += 1
        try:
            yield subscription
        finally:
            self._remove(subscription)

    async def follow(
        self, subscription: Subscription, *, seconds: float, idle_seconds: float
    ) -> AsyncIterator[Message | None]:
        """Yield messages for that long, or until the one job is final; None after `idle_seconds`
        without any. Raises Unavailable."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + seconds
        while not subscription.is_closed and (left := deadline - loop.time()) > 0:
            subscription.wake.clear()
            messages = await self._next_messages(subscription)
            for message in messages:
                yield message
                subscription.position = message.event_id or subscription.position
                if message.is_final and subscription.job_id is not None:
                    return
                if subscription.is_closed or loop.time() > deadline:
                    return
            if not messages and not await wait_for_event(
                subscription.wake, min(left, idle_seconds)
            ):
                yield None

    def close(self) -> None:
        """End all streams soon; from any thread."""
        self._is_closed = True

    async def _next_messages(self, subscription: Subscription) -> list[Message]:
        """Return what follows the stream's position: from the table while it is behind."""
        if not subscription.is_behind:
            return subscription.take()
        subscription.begin()  # before the read: what that misses is collected
        newest, page = await self._read(partial(_page_behind, subscription))
        if page:
            await self._settle()
        messages = [
            self._message(event, job, self._renderer.data(job)) for event, job in _with_jobs(page)
        ]
        subscription.is_behind |= len(page) == _PAGE
        if not subscription.is_behind:
            last = page[-1].id if page else subscription.position
            if last is None or newest > last:
                messages.append(Message(self._renderer.position(newest), newest))
            if subscription.job_id is not None:
                self._newcomers[subscription.job_id].append(subscription)
                self._wake.set()
        return messages

    def _message(self, event: Event, job: Job, data: dict[str, Any]) -> Message:
        block = self._renderer.block(event.kind, event.created_at, data, event.id)
        return Message(block, event.id, job.id, job.state.final)

    def _remove(self, subscription: Subscription) -> None:
        self._num_streams -= Counter([subscription.job_id])
        remaining = self._subscriptions[subscription.key_id]
        remaining.discard(subscription)
        if not remaining:
            del self._subscriptions[subscription.key_id]
        if not self._subscriptions and self._task is not None:
            self._task.cancel()
            self._task = None

    async def _run(self) -> None:
        try:
            with self._notifier.tap(self._matches, self._note):
                await self._follow_database()
        except Unavailable as error:
            log.warning("event streams end", extra={"error": error})
        except Exception as fault:  # streams that hear nothing more must end
            log.error("event streams end", exc_info=fault)
        self._task = None
        for subscriptions in self._subscriptions.values():
            for subscription in subscriptions:
                subscription.close()

    def _matches(self, topic: Topic) -> bool:
        """Tell whether a stream may show the change. The key of a job is not known yet."""
        if topics.is_job(topic):
            return JobId(topic) in self._num_streams or None in self._num_streams
        return topic == topics.KEYS or KeyId(topic) in self._subscriptions

    def _note(self, changed: Sequence[Topic]) -> None:
        """Note changes: of jobs for the next snapshots, all others to be looked at now."""
        for topic in filter(self._matches, changed):
            if not topics.is_job(topic):
                self._wake.set()
            elif len(self._changed_jobs) < _MAX_JOBS:
                self._changed_jobs[JobId(topic)] = None
        if self._notifier.closed:
            self._wake.set()

    async def _follow_database(self) -> None:
        loop = asyncio.get_running_loop()
        self._changed_jobs.clear()
        self._shown_jobs.clear()
        look_again_at = 0.0
        while not (self._is_closed or self._notifier.closed):
            is_due = await wait_for_event(self._wake, _SNAPSHOT_SECONDS)
            self._wake.clear()
            if is_due or self._changed_jobs or loop.time() >= look_again_at:
                async with self._lock:
                    await self._look()
                look_again_at = loop.time() + _LOOK_AGAIN_SECONDS

    async def _look(self) -> None:
        newcomers, self._newcomers = self._newcomers, defaultdict(list)
        job_ids = [*newcomers, *self._jobs_due()]
        key_ids = list(self._subscriptions)
        subscriptions = [each for key_id in key_ids for each in self._subscriptions[key_id]]
        viewers = list({each.viewer for each in subscriptions})
        view = await self._read(partial(_view, key_ids, viewers, job_ids, self._cursor))
        for subscription in subscriptions:
            if subscription.viewer in view.revoked_keys:
                subscription.close()
        jobs_with_events = await self._send_events(key_ids, view.events)
        self._cursor = max(self._cursor, view.newest)
        for job in view.jobs:
            if job.id in jobs_with_events:  # which may be newer
                self._changed_jobs[job.id] = None
                self._newcomers[job.id] += newcomers.get(job.id, [])
            else:
                self._send_snapshot(job, newcomers.get(job.id, []))

    def _jobs_due(self) -> list[JobId]:
        now = asyncio.get_running_loop().time()
        if now < self._snapshots_at:
            return []
        self._snapshots_at = now + _SNAPSHOT_SECONDS
        job_ids = list(islice(self._changed_jobs, _MAX_SNAPSHOTS))
        for job_id in job_ids:
            del self._changed_jobs[job_id]
        return job_ids

    async def _send_events(self, key_ids: list[KeyId], page: list[Event]) -> set[JobId]:
        """Send these events and all that follow; return the jobs that they are about."""
        job_ids: set[JobId] = set()
        while page:
            await self._settle()
            for event, job in _with_jobs(page):
                self._send_event(event, job)
                job_ids.add(job.id)
            self._cursor = page[-1].id
            if len(page) < _PAGE:
                break
            await asyncio.sleep(0)  # streams take what waits for them
            page = await self._read(
                partial(events.page, key_ids=key_ids, after=self._cursor, size=_PAGE)
            )
        return job_ids

    def _send_event(self, event: Event, job: Job) -> None:
        self._shown_jobs.pop(job.id, None)
        if receivers := self._receivers(job):
            _push(self._message(event, job, self._remember(job)), receivers)

    def _send_snapshot(self, job: Job, newcomers: list[Subscription]) -> None:
        """Send the job as it is to those that have not seen it so. A final one is news to newcomers
        alone, and only where its event is gone; others hear it by that."""
        before = self._shown_jobs.get(job.id)
        data = self._remember(job)
        is_new = data != before and not job.state.final
        if receivers := self._receivers(job) if is_new else newcomers:
            block = self._renderer.block(_kind_of(job), self._clock(), data, None)
            _push(Message(block, None, job.id, job.state.final), receivers)

    def _remember(self, job: Job) -> dict[str, Any]:
        """Return the job as clients see it, and compare later ones with that."""
        data = self._renderer.data(job)
        if len(self._shown_jobs) >= _MAX_JOBS:
            self._shown_jobs.clear()
        if not job.state.final:
            self._shown_jobs[job.id] = data
        return data

    def _receivers(self, job: Job) -> list[Subscription]:
        subscriptions = self._subscriptions.get(job.key_id, ())
        return [each for each in subscriptions if each.job_id in (None, job.id)]


def _push(message: Message, receivers: list[Subscription]) -> None:
    for subscription in receivers:
        subscription.push(message)


@dataclass(frozen=True)
class _View:
    """The result of one read for all streams. No job is newer than the events, and up to
    `newest` no event is missing, unless there are more pages."""

    revoked_keys: set[KeyId]
    newest: EventId
    jobs: list[Job]
    events: list[Event]


def _view(
    key_ids: list[KeyId],
    viewers: list[KeyId],
    job_ids: list[JobId],
    after: EventId,
    tx: Transaction,
) -> _View:
    return _View(
        revoked_keys=keys.revoked_among(tx, viewers),
        newest=events.newest(tx),
        jobs=jobs.get_of_keys(tx, job_ids, key_ids) if job_ids else [],
        events=events.page(tx, key_ids, after=after, size=_PAGE),
    )


def _page_behind(subscription: Subscription, tx: Transaction) -> tuple[EventId, list[Event]]:
    """Return the newest id, and a page of events behind the stream's position."""
    newest = events.newest(tx)
    after = newest if subscription.position is None else subscription.position
    key_ids, job_id = [subscription.key_id], subscription.job_id
    return newest, events.page(tx, key_ids, after=after, size=_PAGE, job_id=job_id)


def _with_jobs(page: list[Event]) -> list[tuple[Event, Job]]:
    return [(event, event.job) for event in page if event.job is not None]


def _kind_of(job: Job) -> str:
    """Return the kind of event that shows the job as it is."""
    if job.state.final:
        return EVENT_OF[job.state]
    return QUEUED_EVENT if job.state is JobState.QUEUED else PROGRESS_EVENT
