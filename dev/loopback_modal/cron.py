"""Schedules: run Functions that are due, once a minute or on demand."""

from __future__ import annotations

import asyncio
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

from modal._serialization import serialize
from modal_proto import api_pb2 as pb

from dev.loopback_modal.cloud import Cloud
from dev.loopback_modal.records import Input, Pool
from dev.loopback_modal.scheduler import definition
from dev.loopback_modal.work import Work

RANGES = ((0, 59), (0, 23), (1, 31), (1, 12), (0, 6))


class CronRunner:
    def __init__(self, cloud: Cloud, work: Work) -> None:
        self.cloud = cloud
        self.work = work
        self.last: dict[str, datetime] = {}

    def run(self, pool: Pool) -> Input:
        """Run a scheduled Function, as Modal does: an input without arguments."""
        message = pb.FunctionInput(args=serialize(((), {})), data_format=pb.DATA_FORMAT_PICKLE)
        return self.work.submit(pool, message, pb.FUNCTION_CALL_INVOCATION_TYPE_ASYNC)

    async def tick(self) -> None:
        """Run due Functions every minute on the minute, for ever."""
        while True:
            now = datetime.now().astimezone()
            await asyncio.sleep(60 - now.second - now.microsecond / 1e6)
            minute = datetime.now().astimezone().replace(second=0, microsecond=0)
            for pool in [p for p in self.cloud.live() if self.due(p, minute)]:
                self.run(pool)

    def due(self, pool: Pool, minute: datetime) -> bool:
        schedule = definition(pool).schedule
        if schedule.HasField("cron"):
            zone = ZoneInfo(schedule.cron.timezone or "UTC")
            return matches(schedule.cron.cron_string, minute.astimezone(zone))
        if schedule.HasField("period"):
            last = self.last.setdefault(pool.id, minute)
            if minute - last >= length(schedule.period):
                self.last[pool.id] = minute
                return True
        return False


def length(period: pb.Schedule.Period) -> timedelta:
    """Return a period's length; a month counts as 30 days."""
    days = period.days + 30 * period.months + 365 * period.years
    return timedelta(
        weeks=period.weeks,
        days=days,
        hours=period.hours,
        minutes=period.minutes,
        seconds=period.seconds,
    )


def matches(line: str, when: datetime) -> bool:
    """Match a five-field cron line; with both day fields set, either one is enough."""
    fields = line.split()
    values = (when.minute, when.hour, when.day, when.month, when.isoweekday() % 7)
    hits = [v in members(f, r) for f, v, r in zip(fields, values, RANGES, strict=True)]
    either = fields[2] != "*" and fields[4] != "*"
    day = hits[2] or hits[4] if either else hits[2] and hits[4]
    return hits[0] and hits[1] and hits[3] and day


def members(field: str, bounds: tuple[int, int]) -> set[int]:
    """Parse `*`, `7`, `1-5`, `*/15`, `10-40/10` or a comma list; day 7 is Sunday, like 0."""
    numbers: set[int] = set()
    for part in field.split(","):
        span, _, step = part.partition("/")
        first, _, last = span.partition("-")
        low = bounds[0] if first == "*" else int(first)
        high = bounds[1] if first == "*" or (step and not last) else int(last or first)
        numbers.update(range(low, high + 1, int(step or 1)))
    return {0 if bounds == (0, 6) and day == 7 else day for day in numbers}
