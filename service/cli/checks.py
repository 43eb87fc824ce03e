"""What `rushes doctor` looks at on this machine; no look changes anything."""

import shutil
import sqlite3
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Literal

import sqlalchemy as sa

from service.cli.processes.detect import accelerator
from service.cli.processes.upgrade import reason
from service.domain.errors import Unavailable
from service.installation import install_command
from service.settings import Settings
from service.store.engine import check_sessions
from service.store.schema import check_schema

_LOW_SPACE_GB = 5.0
_OLDEST_SQLITE = (3, 35)  # the first with RETURNING


@dataclass(frozen=True)
class Finding:
    """`warning`: it works, but not as well as it could. `fault`: it will not work."""

    name: str
    status: Literal["ok", "warning", "fault"]
    detail: str


def python() -> Finding:
    good = sys.version_info >= (3, 11)
    return Finding("Python", "ok" if good else "fault", sys.version.split()[0])


def settings_names() -> Finding:
    """Whether every RUSHES_… is a setting; what is none is passed over by everybody else."""
    from service.cli.config import strange_settings

    strange = strange_settings()
    return Finding("settings", "warning" if strange else "ok", "; ".join(strange) or "understood")


def ffmpeg() -> Finding:
    from imageio_ffmpeg import get_ffmpeg_exe

    try:
        told = subprocess.run(
            [get_ffmpeg_exe(), "-version"], capture_output=True, text=True, check=True, timeout=30
        )
    except (OSError, RuntimeError, subprocess.SubprocessError) as error:
        return Finding("ffmpeg", "fault", f"does not run: {error}")
    return Finding(
        "ffmpeg", "ok", told.stdout.split(" Copyright")[0].removeprefix("ffmpeg version ")
    )


def data_directory(settings: Settings) -> Finding:
    folder = settings.data_dir.resolve()
    there = next(place for place in (folder, *folder.parents) if place.exists())
    try:
        with tempfile.TemporaryFile(dir=there):
            free_gb = shutil.disk_usage(there).free / 1e9
    except OSError as error:
        return Finding("data directory", "fault", f"cannot write to {there}: {error.strerror}")
    detail = f"{folder}{'' if there == folder else ' (not yet made)'}, {free_gb:.1f} GB free"
    if free_gb < _LOW_SPACE_GB:
        return Finding("data directory", "warning", f"{detail}: little room for videos")
    return Finding("data directory", "ok", detail)


def database(settings: Settings) -> Finding:
    try:
        url = sa.make_url(settings.database_url)
    except sa.exc.ArgumentError:
        return Finding("database", "fault", "RUSHES_DATABASE_URL is not a database URL")
    local = url.get_backend_name() == "sqlite"
    kind = f"SQLite {sqlite3.sqlite_version}" if local else url.render_as_string()
    if local and sqlite3.sqlite_version_info < _OLDEST_SQLITE:
        return Finding("database", "fault", f"{kind} is too old; 3.35 or newer is needed")
    # To look into a SQLite file that is not there would make it.
    if local and url.database and not Path(url.database).exists():
        return Finding("database", "ok", f"{kind}, not yet made; the first `rushes up` makes it")
    try:
        check_sessions(settings.database_url)
        check_schema(settings.database_url)
    except Unavailable as error:
        return Finding("database", "fault", f"{kind}: {error.message}")
    except (sa.exc.SQLAlchemyError, ImportError, OSError) as error:
        return Finding("database", "fault", f"{kind} cannot be read: {reason(error)}")
    return Finding("database", "ok", f"{kind}, up to date")


def gpu() -> Finding:
    found = accelerator()
    if found is not None:
        return Finding("GPU", "ok", found)
    return Finding(
        "GPU",
        "warning",
        "no GPU found: the sandbox model slate will be used; "
        f"{install_command('torch')} and a CUDA GPU for real models",
    )


def torch() -> Finding:
    missing = [name for name in ("torch", "diffusers") if find_spec(name) is None]
    if missing:
        how = install_command("torch")
        words = f"{' and '.join(missing)} not installed; {how} installs what real models need"
        return Finding("torch", "warning", words)
    return Finding("torch", "ok", f"torch {version('torch')}, diffusers {version('diffusers')}")
