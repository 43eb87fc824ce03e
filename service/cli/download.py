"""Download a video to a file, which appears only complete and with its checksum verified."""

import shlex
from contextlib import suppress
from pathlib import Path

from service.cli import phrases
from service.cli.client import Client
from service.cli.exits import CliError, Exit
from service.cli.flags import Connection, Output
from service.cli.phrases import Json
from service.domain.artifact import ARTIFACT_RULES, CaptionFormat, Variant


def check_output(to: Output, captions: CaptionFormat | None = None) -> None:
    """Raise CliError if the files cannot be written, before a job is submitted."""
    if to.output is not None and not to.output.is_dir():
        _check_file(to.output, to.force)
        if captions is not None:
            _check_file(beside(to.output, captions), to.force)


def beside(video: Path, captions: CaptionFormat) -> Path:
    """Return the file for the captions of a video: `clip.vtt` for `clip.mp4`."""
    return video.with_suffix(f".{captions}")


def command_for(
    job_id: str,
    to: Output,
    connection: Connection,
    variant: Variant = "video",
    captions: CaptionFormat | None = None,
) -> str:
    """Return the line for a shell that waits for a job and saves its files as this command does."""
    file = to.output
    line = _command(job_id, file, to, connection, variant) + " --json" * connection.as_json
    if captions is None:
        return line
    if file is not None and not file.is_dir():
        file = beside(file, captions)
    return f"{line} && {_command(job_id, file, to, connection, 'captions')}"


def _command(
    job_id: str, file: Path | None, to: Output, connection: Connection, variant: Variant
) -> str:
    words = ["rushes", "download", "--wait", job_id]
    if variant != "video":
        words += ["--variant", variant]
    if file is not None:
        words += ["-o", str(file)]
    if to.force:
        words.append("--force")
    return shlex.join([*words, *connection.words])


def download(client: Client, job: Json, to: Output, variant: Variant = "video") -> Path:
    """Save a file of the job and return its path. Raises CliError if there is none."""
    _check_result(job)
    url = job["result"][f"{variant}_url"]
    if url is None:
        raise CliError(Exit.NOT_FOUND, f"job {job['id']} has no {variant}: none were requested")
    file = _file(to.output, job["id"] + _suffix(job, variant))
    _check_file(file, to.force)
    part = file.with_name(file.name + ".part")
    try:
        sha256 = client.download(url, part)
        if variant == "video" and sha256 != job["result"]["sha256"]:
            raise CliError(
                Exit.FAILURE, "the download does not match the video's SHA-256; try again"
            )
        part.replace(file)
    except OSError as error:
        raise CliError(
            Exit.FAILURE,
            f"cannot write {file}: {error.strerror}",
            f"the video is still there: rushes download {job['id']} -o ANOTHER_PLACE",
        ) from error
    finally:
        with suppress(OSError):
            part.unlink()
    return file


def _suffix(job: Json, variant: Variant) -> str:
    if variant == "captions":
        return f".{job['input']['captions']['format']}"
    return ".mp4" if variant == "video" else f"-{ARTIFACT_RULES[variant].file}"


def _check_result(job: Json) -> None:
    if not phrases.is_final(job):
        detail = f"job {job['id']} is {job['status']}: there is no video yet"
        raise CliError(Exit.FAILURE, f"{detail}; `rushes download --wait {job['id']}` waits for it")
    if job["result"] is None:
        raise CliError(Exit.NO_VIDEO, phrases.failure(job))


def _file(output: Path | None, name: str) -> Path:
    if output is None:
        return Path(name)
    return output / name if output.is_dir() else output


def _check_file(file: Path, force: bool) -> None:
    if not file.parent.is_dir():
        # Not created: a typo would hide a video that was paid for.
        raise CliError(Exit.INVALID, f"no such folder: {file.parent}")
    if file.is_dir():
        raise CliError(Exit.INVALID, f"{file} is a folder")
    if file.exists() and not file.is_file():  # a device would be replaced by the video
        raise CliError(Exit.INVALID, f"{file} is no file")
    if file.exists() and not force:
        raise CliError(Exit.INVALID, f"{file} already exists; --force overwrites it")
