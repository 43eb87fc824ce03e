"""Brings a finished video to a file: whole and checked, or not at all."""

from contextlib import suppress
from pathlib import Path

from service.cli import phrases
from service.cli.client import Client
from service.cli.exits import Exit, Stop
from service.cli.flags import Output
from service.cli.phrases import Json

SUFFIX = {"video": ".mp4", "thumbnail": "-thumbnail.jpg", "last_frame": "-last_frame.png"}


def check_output(to: Output) -> None:
    """Find out before a GPU works for it that the file has no place. Stops the command."""
    if to.output is not None and not to.output.is_dir():
        _check_file(to.output, to.force)


def download(client: Client, job: Json, to: Output, variant: str = "video") -> Path:
    """Where the file is now. Stops the command when the job has none, or the bytes are wrong."""
    _check_result(job)
    file = _file(to.output, job["id"] + SUFFIX[variant])
    _check_file(file, to.force)
    part = file.with_name(file.name + ".part")
    try:
        sha256 = client.download(job["result"][f"{variant}_url"], part)
        if variant == "video" and sha256 != job["result"]["sha256"]:
            raise Stop(Exit.IN_THE_WAY, "the bytes that came are not the video's; download again")
        part.replace(file)
    except OSError as error:
        raise Stop(
            Exit.IN_THE_WAY,
            f"cannot write {file}: {error.strerror}",
            f"the video is kept: rushes download {job['id']} -o ANOTHER_PLACE",
        ) from error
    finally:
        with suppress(OSError):
            part.unlink()
    return file


def _check_result(job: Json) -> None:
    if not phrases.final(job):
        detail = f"job {job['id']} is {job['status']}: there is no video yet"
        raise Stop(Exit.IN_THE_WAY, detail)
    if job["result"] is None:
        raise Stop(Exit.NO_VIDEO, phrases.why(job))


def _file(output: Path | None, name: str) -> Path:
    if output is None:
        return Path(name)
    return output / name if output.is_dir() else output


def _check_file(file: Path, force: bool) -> None:
    if not file.parent.is_dir():
        # Made for them, a name that was mistyped would hide what was paid for.
        raise Stop(Exit.REFUSED, f"there is no folder {file.parent}")
    if file.is_dir():
        raise Stop(Exit.REFUSED, f"{file} is a folder")
    if file.exists() and not force:
        raise Stop(Exit.REFUSED, f"{file} is there already; --force overwrites it")
