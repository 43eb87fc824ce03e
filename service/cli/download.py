"""Brings a finished video to a file: whole and checked, or not at all."""

from pathlib import Path

from service.cli import words
from service.cli.client import Client
from service.cli.flags import Output
from service.cli.stop import Exit, Stop
from service.cli.words import Json

SUFFIX = {"video": ".mp4", "thumbnail": "-thumbnail.jpg", "last_frame": "-last_frame.png"}


def check_output(to: Output) -> None:
    """Find out before a GPU works for it that the file has no place. Stops the command."""
    if to.output is not None and not _is_folder(to.output):
        _check_file(to.output, to.force)
        _make_folder(to.output.parent)


def download(client: Client, job: Json, to: Output, variant: str = "video") -> Path:
    """Where the file is now. Stops the command when the job has none, or the bytes are wrong."""
    if job["result"] is None:
        raise (
            Stop(Exit.NO_VIDEO, words.why(job))
            if words.final(job)
            else Stop(Exit.IN_THE_WAY, f"job {job['id']} is {job['status']}: there is no video yet")
        )
    file = _file(to.output, job["id"] + SUFFIX[variant])
    _check_file(file, to.force)
    _make_folder(file.parent)
    part = file.with_name(file.name + ".part")
    try:
        sha256 = client.download(job["result"][f"{variant}_url"], part)
        if variant == "video" and sha256 != job["result"]["sha256"]:
            raise Stop(Exit.IN_THE_WAY, "the bytes that came are not the video's; download again")
        part.replace(file)
    except OSError as error:
        raise Stop(Exit.IN_THE_WAY, f"cannot write {file}: {error.strerror}") from error
    finally:
        part.unlink(missing_ok=True)
    return file


def _file(output: Path | None, name: str) -> Path:
    if output is None:
        return Path(name)
    return output / name if _is_folder(output) else output


def _is_folder(output: Path) -> bool:
    return output.is_dir()


def _check_file(file: Path, force: bool) -> None:
    if file.is_dir():
        raise Stop(Exit.REFUSED, f"{file} is a folder")
    if file.exists() and not force:
        raise Stop(Exit.REFUSED, f"{file} is there already; --force overwrites it")


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise Stop(Exit.REFUSED, f"cannot make the folder {folder}: {error.strerror}") from error
