"""Jobs that are carried out by calls: start them, ask how they stand, and end them."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from service.domain.attempt import Failure, FailureKind, Ticket
from service.domain.call import CallEnd, Look
from service.domain.card import ModelCard
from service.domain.errors import Unavailable
from service.domain.job import Job, JobState
from service.domain.ports import Dispatcher
from service.domain.price import Terms
from service.lifecycle import dispatch
from service.lifecycle.report import adopt, give_back
from service.lifecycle.settle import settle
from service.log import Log
from service.store import attempts, jobs, moves
from service.store.database import Database, Transaction

log = Log(__name__)

# How long a call may say nothing before it is asked; asking costs one request.
PATIENCE = timedelta(seconds=30)


@dataclass(frozen=True)
class Calls:
    """The ticks of a service whose workers are called. `api_url` is where they report, where it is
    not known from the job's submit; `most` is how many calls of a model may be open."""

    db: Database
    dispatcher: Dispatcher
    cards: dict[str, ModelCard]
    terms: Terms
    max_active_per_key: int
    most: int
    api_url: str | None

    def send_some(self, now: datetime) -> int:
        """Start calls for what is due, as far as there is room; how many were started."""
        sent = 0
        for model in self.cards:
            while self._room(model) and (claimed := self._claim(model, now)) is not None:
                if not self._send(claimed, now):
                    return sent
                sent += 1
        return sent

    def look(self, job: Job, now: datetime) -> Job | None:
        """What has become of a silent job's call; the job as it is now, or None where nobody
        knows more. Raises Unavailable when the call cannot be asked."""
        call_id = self.db.read(lambda tx: attempts.open_call(tx, job))
        if call_id is None:
            return None
        look = self.dispatcher.look(call_id)
        log.info("call looked at", job=job.id, attempt=job.attempt, call=call_id, found=_word(look))
        if look == "alive" and _waited_too_long(job, now):
            self.dispatcher.cancel(call_id)
            return self._write(job, lambda tx, held: give_back(tx, held, self.terms.rates, now))
        return self._write(job, lambda tx, held: self._judge(tx, held, look, now))

    def stop(self, job: Job) -> None:
        """Nobody waits for this job's call any more."""
        call_id = self.db.read(lambda tx: attempts.open_call(tx, job))
        if call_id is not None:
            self.dispatcher.cancel(call_id)

    def _room(self, model: str) -> bool:
        return self.db.read(lambda tx: jobs.count_active(tx, model)) < self.most

    def _claim(self, model: str, now: datetime) -> dispatch.Claim | None:
        if not self.db.read(
            lambda tx: jobs.candidates(tx, [model], now, limit=self.max_active_per_key)
        ):
            return None
        return self.db.write(
            lambda tx: dispatch.claim(
                tx,
                [model],
                worker="call",
                lease=PATIENCE,
                max_active=self.max_active_per_key,
                now=now,
            )
        ).result()

    def _send(self, claimed: dispatch.Claim, now: datetime) -> bool:
        """Committed first, then sent: a crash in between costs a lease, and never a generation."""
        job = claimed.job
        ticket = Ticket(
            job_id=job.id,
            attempt=job.attempt,
            fence=job.fence,
            token=claimed.token,
            request=job.request,
            card=self.cards[job.request.model],
            api_url=self.api_url or job.api_url or "",
            traceparent=job.traceparent,
        )
        try:
            call_id = self.dispatcher.send(ticket)
        except Unavailable as error:
            log.warning("call could not be started", job=job.id, error=error)
            rates = self.terms.rates
            self._write(job, lambda tx, held: give_back(tx, held, rates, now, wait=PATIENCE))
            return False
        log.info("call started", job=job.id, attempt=job.attempt, call=call_id)
        self.db.write(lambda tx: attempts.note_call(tx, job, call_id)).result()
        return True

    def _judge(self, tx: Transaction, job: Job, look: Look, now: datetime) -> Job | None:
        if isinstance(look, CallEnd):
            return adopt(tx, job, look, terms=self.terms, now=now)
        if look == "alive":
            return moves.wait_on(tx, job, now=now, lease=PATIENCE)
        if look == "timed out":
            return settle(tx, job, _TIMED_OUT, self.terms.rates, now)
        return None

    def _write(self, job: Job, work) -> Job | None:  # type: ignore[no-untyped-def]
        """Unless the job is no longer what was judged."""

        def guarded(tx: Transaction) -> Job | None:
            held = jobs.hold(tx, job.id)
            return work(tx, held) if held == job else None

        moved: Job | None = self.db.write(guarded).result()
        return moved


def _waited_too_long(job: Job, now: datetime) -> bool:
    """For a GPU, longer than the caller wanted to."""
    deadline = job.start_deadline_at
    return job.state is JobState.STARTING and deadline is not None and deadline < now


def _word(look: Look) -> str:
    return "ended" if isinstance(look, CallEnd) else look


_TIMED_OUT = Failure(
    kind=FailureKind.TIMEOUT, code="timeout", message="the call ran into its platform's timeout"
)
