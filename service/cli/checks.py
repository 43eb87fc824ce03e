"""Read-only checks of this machine for `rushes doctor`."""

import shutil
import sqlite3
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import sqlalchemy as sa

from service.cli.exits import CliError
from service.cli.processes.detect import accelerator, missing_packages
from service.cli.processes.up import with_models
from service.cli.processes.upgrade import error_line
from service.domain.errors import Unavailable
from service.domain.models.catalog import CARDS
from service.installation import install_command, missing_modules
from service.settings import Settings
from service.store.engine import check_sessions
from service.store.schema import check_schema

_LOW_SPACE_GB = 5.0
_MIN_SQLITE = (3, 35)  # the first with RETURNING


@dataclass(frozen=True)
class Finding:
    """The result of a check. `warning`: it works with limits. `fault`: it does not work."""

    name: str
    status: Literal["ok", "warning", "fault"]
    detail: str


def python() -> Finding:
    good = sys.version_info >= (3, 11)
    return Finding("Python", "ok" if good else "fault", sys.version.split()[0])


def settings_names() -> Finding:
    """Report RUSHES_… variables that are no setting; everything else ignores them."""
    from service.cli.config import unknown_setting_messages

    messages = unknown_setting_messages()
    return Finding("settings", "warning" if messages else "ok", "; ".join(messages) or "valid")


def ffmpeg() -> Finding:
    from imageio_ffmpeg import get_ffmpeg_exe

    try:
        process = subprocess.run(
            [get_ffmpeg_exe(), "-version"], capture_output=True, text=True, check=True, timeout=30
        )
    except (OSError, RuntimeError, subprocess.SubprocessError) as error:
        return Finding("ffmpeg", "fault", f"does not run: {error}")
    return Finding(
        "ffmpeg", "ok", process.stdout.split(" Copyright")[0].removeprefix("ffmpeg version ")
    )


def data_directory(settings: Settings) -> Finding:
    folder = settings.data_dir.resolve()
    parent = next(place for place in (folder, *folder.parents) if place.exists())
    try:
        with tempfile.TemporaryFile(dir=parent):
            free_gb = shutil.disk_usage(parent).free / 1e9
    except OSError as error:
        return Finding("data directory", "fault", f"cannot write to {parent}: {error.strerror}")
    detail = f"{folder}{'' if parent == folder else ' (not created yet)'}, {free_gb:.1f} GB free"
    if free_gb < _LOW_SPACE_GB:
        return Finding("data directory", "warning", f"{detail}: little space for videos")
    return Finding("data directory", "ok", detail)


def database(settings: Settings) -> Finding:
    try:
        url = sa.make_url(settings.database_url)
    except sa.exc.ArgumentError:
        return Finding("database", "fault", "RUSHES_DATABASE_URL is not a database URL")
    local = url.get_backend_name() == "sqlite"
    kind = f"SQLite {sqlite3.sqlite_version}" if local else url.render_as_string()
    if local and sqlite3.sqlite_version_info < _MIN_SQLITE:
        return Finding("database", "fault", f"{kind} is too old; 3.35 or newer is needed")
    # Connecting to a missing SQLite file would create it.
    if local and url.database and not Path(url.database).exists():
        return Finding("database", "ok", f"{kind}, not created yet; `rushes up` creates it")
    try:
        check_sessions(settings.database_url)
        check_schema(settings.database_url)
    except Unavailable as error:
        return Finding("database", "fault", f"{kind}: {error.message}")
    except (sa.exc.SQLAlchemyError, ImportError, OSError) as error:
        return Finding("database", "fault", f"{kind} cannot be read: {error_line(error)}")
    return Finding("database", "ok", f"{kind}, up to date")


def voices(settings: Settings) -> Finding:
    """List the voices, also those of ElevenLabs where its key is set, which tries the key."""
    from service.wiring.speech import catalog

    try:
        listing = catalog(settings).listing()
    except Unavailable as error:
        return Finding("voices", "fault", error.message)
    if listing.problems:
        return Finding("voices", "fault", "; ".join(listing.problems))
    counts = Counter(info.provider for info in listing.voices)
    detail = ", ".join(f"{count} of {provider}" for provider, count in counts.items())
    return Finding("voices", "ok" if counts else "warning", detail or "none installed")


def models(settings: Settings) -> list[Finding]:
    """Check the models to serve: whether workers here have their packages and a GPU."""
    try:
        names = with_models(settings).models
    except CliError as error:
        return [Finding("models", "fault", str(error))]
    missing = missing_packages(names) if settings.workers else []
    if missing:
        return [*(Finding("models", "fault", sentence) for sentence in missing), _gpu(names)]
    how = "set by RUSHES_MODELS" if settings.models else "chosen for this machine"
    return [Finding("models", "ok", f"{', '.join(names)}, {how}"), *_others(), _gpu(names)]


def _others() -> list[Finding]:
    """Report the models that are not there for want of packages."""
    findings = []
    for extra in ("torch", "avatar"):
        if missing_modules(extra):
            names = [card.name for card in CARDS.values() if card.extra == extra]
            verb = "needs" if len(names) == 1 else "need"
            detail = (
                f"not installed; {install_command(extra)} installs what {', '.join(names)} {verb}"
            )
            findings.append(Finding(f"packages for {extra}", "warning", detail))
    return findings


def _gpu(models: Iterable[str]) -> Finding:
    device = accelerator()
    needing = [name for name in models if CARDS[name].gpus]
    if device is not None:
        return Finding("GPU", "ok", device)
    if needing:
        detail = f"none found: {', '.join(needing)} will be very slow, or fail"
    else:
        detail = "none found: only a CUDA or Apple GPU makes real videos from prompts"
    return Finding("GPU", "warning", detail)
