"""An App for the tests where things go wrong: no image source but this file."""

import os
import sys
import time
from pathlib import Path

import modal

app = modal.App("trouble", image=modal.Image.debian_slim())
files = modal.Volume.from_name("trouble-files", create_if_missing=True, version=2)
notes = modal.Dict.from_name("trouble-notes", create_if_missing=True)


@app.function(timeout=1, scaledown_window=2)
def too_long() -> None:
    time.sleep(30)


@app.cls(
    volumes={"/trouble": files.read_only()},
    retries=modal.Retries(max_retries=1, initial_delay=0.0),
    scaledown_window=30,
)
class Unlucky:
    @modal.method()
    def third_time(self, key: str) -> int:
        notes[key] = notes.get(key, 0) + 1
        if notes[key] < 3:
            raise LookupError(f"try {notes[key]}")
        return notes[key]

    @modal.method()
    def forgets_a_file(self) -> None:
        import goods  # noqa: F401

    @modal.method()
    def writes_to_read_only(self) -> str:
        try:
            Path("/trouble/new").write_text("x")
        except OSError as exc:
            return os.strerror(exc.errno or 0)
        return "written"

    @modal.method()
    def dies_once(self, key: str) -> int:
        notes[key] = notes.get(key, 0) + 1
        if notes[key] < 2:
            os._exit(1)
        return notes[key]


@app.cls(scaledown_window=5)
class Stubborn:
    @modal.enter()
    def load(self) -> None:
        notes["entered"] = notes.get("entered", 0) + 1
        if notes["entered"] < 2:
            raise RuntimeError("not yet")

    @modal.method()
    def entered(self) -> int:
        return notes["entered"]


@app.cls(volumes={"/trouble": files}, max_containers=1, scaledown_window=30)
class BlobStore:
    """Each label has containers, and so a working copy, of its own."""

    label: str = modal.parameter()

    @modal.method()
    def put(self, name: str, text: str) -> None:
        Path("/trouble", name).write_text(text)

    @modal.method()
    def remove(self, name: str) -> None:
        Path("/trouble", name).unlink()

    @modal.method()
    def commit(self) -> None:
        files.commit()

    @modal.method()
    def reload(self) -> None:
        files.reload()

    @modal.method()
    def names(self) -> dict[str, str]:
        return {p.name: p.read_text() for p in Path("/trouble").iterdir()}

    @modal.method()
    def reload_with_open_file(self, name: str) -> str:
        with Path("/trouble", name).open():
            try:
                files.reload()
            except RuntimeError as exc:
                return str(exc)
        return ""


@app.function()
def hello(name: str = "you") -> str:
    sys.stdout.write(f"hello, {name}\n")
    return name
