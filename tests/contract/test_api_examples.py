"""Every command of docs/api.md, and those of the README that say so, against a real service."""

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.contract.documents import Block, blocks, read
from tests.journey.service import KEY, running

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        not (shutil.which("curl") and shutil.which("jq")), reason="the documents use curl and jq"
    ),
]


FACE = Path(__file__).parents[1] / "workers" / "puppet" / "data" / "presenter.png"
MODELS = ["slate", "puppet"]


@dataclass
class Shell:
    """Runs block after block, as a reader does: files stay, and so do variables."""

    folder: Path
    url: str
    said: list[tuple[str, str]] = field(default_factory=list)

    def run(self, block: Block) -> str:
        state = self.folder / ".variables"
        state.touch()
        done = subprocess.run(
            [
                "bash",
                "-euo",
                "pipefail",
                "-c",
                f". {state}\nset -a\n{block.text}\nexport -p >{state}",
            ],
            cwd=self.folder,
            env={**os.environ, "URL": self.url, "KEY": KEY},
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.returncode == 0, f"{block.text}\n{done.stdout}\n{done.stderr}"
        self.said.append((block.text, done.stdout))
        return done.stdout

    def answer(self, part: str) -> str:
        """What the one block that contains `part` has printed."""
        (found,) = (printed for text, printed in self.said if part in text)
        return found

    def bytes(self, name: str) -> bytes:
        return (self.folder / name).read_bytes()


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with running(tmp_path_factory.mktemp("examples"), "--workers", "1", models=MODELS) as service:
        yield str(service.client.base_url).rstrip("/")


def test_the_commands_of_the_api_document_work(url: str, tmp_path: Path) -> None:
    shell = Shell(tmp_path, url)
    shutil.copy(FACE, tmp_path / "face.jpg")
    found = [block for block in blocks(read("docs/api.md")) if block.language in ("bash", "json")]

    for block, following in zip(found, [*found[1:], None], strict=True):
        if block.language == "bash":
            printed = shell.run(block)
            if following is not None and following.language == "json" and not following.alone:
                assert_same_shape(following.json(), json.loads(printed))

    assert shell.bytes("video.mp4")[4:8] == b"ftyp"
    assert shell.bytes("inline.mp4")[4:8] == b"ftyp"
    assert shell.bytes("linked.mp4") == shell.bytes("video.mp4")
    assert shell.bytes("start.bin") == shell.bytes("video.mp4")[:1024]
    assert shell.bytes("thumbnail.jpg").startswith(b"\xff\xd8")
    assert shell.answer("--etag-compare").strip() == "304"
    assert "event: job.succeeded" in shell.answer("/v1/jobs/$JOB/events")
    assert shell.answer("/v1/events").splitlines()[0].startswith("event: job.")
    assert len(set(shell.answer("scene-12-take-3").split())) == 1
    assert json.loads(shell.answer("/retry"))["status"] == "succeeded"
    assert json.loads(shell.answer('DELETE "$URL/v1/jobs'))["deleted"] is True


def test_the_tested_commands_of_the_readme_work(url: str, tmp_path: Path) -> None:
    shell = Shell(tmp_path, url)

    for block in blocks(read("README.md")):
        if block.tested:
            shell.run(block)

    assert shell.bytes("video.mp4")[4:8] == b"ftyp"


def assert_same_shape(shown: Any, real: Any) -> None:
    """What a document shows is there, with values of the same kind."""
    assert kind(shown) is kind(real), f"{shown!r} is shown for {real!r}"
    if isinstance(shown, dict):
        for name, value in shown.items():
            assert name in real, f"{name} is shown, and not there"
            assert_same_shape(value, real[name])
    elif isinstance(shown, list):
        for one, other in zip(shown, real, strict=True):
            assert_same_shape(one, other)


def kind(value: Any) -> type:
    """JSON knows one kind of number."""
    return float if type(value) is int else type(value)
