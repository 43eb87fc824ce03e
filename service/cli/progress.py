"""Show a job's progress: a live bar on a terminal, plain lines elsewhere."""

import sys
from typing import Protocol

from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn

from service.cli import output, phrases
from service.cli.phrases import Json

_LINE_EVERY = 25  # percent


class Meter(Protocol):
    """Receives the job at every poll; may be stopped for a question and started again."""

    def start(self) -> None: ...

    def stop(self) -> None: ...

    def show(self, job: Json) -> None: ...

    def offline(self, reason: str) -> None: ...


def meter() -> Meter:
    """Return a meter on standard error; standard output is for the result alone."""
    return Bar() if sys.stderr.isatty() else Lines()


class Lines:
    """Prints a line whenever the stage changes or another quarter is done."""

    def __init__(self) -> None:
        self._last: object = None

    def start(self) -> None:
        """Do nothing."""

    def stop(self) -> None:
        """Do nothing."""

    def show(self, job: Json) -> None:
        quarter = job["progress"] // _LINE_EVERY
        reason = job["stage_detail"] if job["status"] == "queued" else None
        state = (job["status"], job["stage"], job["attempts"], quarter, reason)
        if state != self._last:
            self._last = state
            wait = phrases.wait(job)
            end = f"  ({wait})" if wait else ""
            output.notice(f"{job['progress']:>3} %  {phrases.activity(job)}{end}")

    def offline(self, reason: str) -> None:
        if self._last != reason:
            self._last = reason
            output.notice(f"connection to the service lost, retrying: {reason}")


class Bar:
    """Redraws one line at every poll."""

    def __init__(self) -> None:
        self._bar = Progress(
            BarColumn(bar_width=24),
            TaskProgressColumn(),
            TimeElapsedColumn(),
            TextColumn("{task.description}"),
            TextColumn("{task.fields[wait]}"),
            console=output.console(stderr=True),
        )
        self._task = self._bar.add_task("submitted", total=100, wait="")

    def start(self) -> None:
        self._bar.start()

    def stop(self) -> None:
        self._bar.stop()

    def show(self, job: Json) -> None:
        self._bar.update(
            self._task,
            completed=job["progress"],
            description=phrases.activity(job),
            wait=phrases.wait(job),
        )

    def offline(self, reason: str) -> None:
        self._bar.update(self._task, wait="connection lost, retrying")
