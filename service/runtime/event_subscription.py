"""A stream's place among the events, and the messages that wait until it has sent those before."""

import asyncio
from dataclasses import dataclass, field

from service.domain.ids import EventId, JobId, KeyId

# A stream that is further behind reads the table again, when it has time: memory is bounded.
_MAX_WAITING = 200


@dataclass(frozen=True)
class Message:
    """An event as it is sent. One without an id is a snapshot, and may give way to a later one."""

    block: bytes
    event_id: EventId | None = None
    job_id: JobId | None = None  # None: it only moves the position
    is_final: bool = False


@dataclass(eq=False)
class Subscription:
    """One stream: of all jobs of a key, or of one job, for the key `viewer`. `position` is the last
    id it has sent; None begins at now. `is_behind`: messages are not collected, as it has to read
    the table first."""

    key_id: KeyId
    job_id: JobId | None
    position: EventId | None
    viewer: KeyId
    is_behind: bool = True
    is_closed: bool = False
    wake: asyncio.Event = field(default_factory=asyncio.Event)
    _waiting: dict[EventId | JobId | None, Message] = field(default_factory=dict)

    def begin(self) -> None:
        """Collect from now on."""
        self._waiting.clear()
        self.is_behind = False

    def push(self, message: Message) -> None:
        """Add a message, in place of an earlier snapshot of its job that is not sent yet."""
        if self.is_behind:
            return
        self._waiting.pop(message.job_id, None)
        self._waiting[message.event_id or message.job_id] = message
        if len(self._waiting) > _MAX_WAITING:
            self._waiting.clear()
            self.is_behind = True
        self.wake.set()

    def take(self) -> list[Message]:
        """Take what waits, without what the stream has sent from the table."""
        messages = list(self._waiting.values())
        self._waiting.clear()
        return [each for each in messages if each.event_id is None or self._is_new(each.event_id)]

    def close(self) -> None:
        self.is_closed = True
        self.wake.set()

    def _is_new(self, event_id: EventId) -> bool:
        return self.position is None or event_id > self.position
