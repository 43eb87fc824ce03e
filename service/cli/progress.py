"""Shows how a job is coming along: a live bar on a terminal, plain lines elsewhere."""

import sys
from typing import Protocol

from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn

from service.cli import output, phrases
from service.cli.phrases import Json

_LINE_EVERY = 25  # percent


class Meter(Protocol):
    """Told of a job at every look; may be stopped for a question and started again."""

    def start(self) -> None: ...

    def stop(self) -> None: ...

    def show(self, job: Json) -> None: ...

    def away(self, trouble: str) -> None: ...


def meter() -> Meter:
    """Progress goes to standard error, so that standard output is the answer alone."""
    return Bar() if sys.stderr.isatty() else Lines()


class Lines:
    """A line whenever the stage changes or another quarter is done."""

    def __init__(self) -> None:
        self._said: object = None

    def start(self) -> None:
        """There is nothing to draw yet."""

    def stop(self) -> None:
        """Lines stay."""

    def show(self, job: Json) -> None:
        news = (job["status"], job["stage"], job["attempts"], job["progress"] // _LINE_EVERY)
        if news != self._said:
            self._said = news
            ahead = phrases.ahead(job)
            end = f"  ({ahead})" if ahead else ""
            output.aside(f"{job['progress']:>3} %  {phrases.doing(job)}{end}")

    def away(self, trouble: str) -> None:
        if self._said != trouble:
            self._said = trouble
            output.aside(f"lost sight of the service, looking again: {trouble}")


class Bar:
    """One line, drawn anew at every look."""

    def __init__(self) -> None:
        self._bar = Progress(
            BarColumn(bar_width=24),
            TaskProgressColumn(),
            TimeElapsedColumn(),
            TextColumn("{task.description}"),
            TextColumn("{task.fields[ahead]}"),
            console=output.console(stderr=True),
        )
        self._task = self._bar.add_task("submitted", total=100, ahead="")

    def start(self) -> None:
        self._bar.start()

    def stop(self) -> None:
        self._bar.stop()

    def show(self, job: Json) -> None:
        self._bar.update(
            self._task,
            completed=job["progress"],
            description=phrases.doing(job),
            ahead=phrases.ahead(job),
        )

    def away(self, trouble: str) -> None:
        self._bar.update(self._task, ahead="no answer, looking again")
