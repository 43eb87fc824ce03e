"""A worker looks at its own machine."""

from dataclasses import replace
from pathlib import Path

import pytest

from service.artifacts.files import Files
from service.domain.ids import is_id
from service.workers.probe import probe
from service.workers.recipe import WorkerEnvironment


@pytest.fixture
def bench(tmp_path: Path) -> WorkerEnvironment:
    return WorkerEnvironment(Files(tmp_path / "artifacts"), tmp_path / "scratch" / "w")


def test_a_machine_that_can_work_passes_and_keeps_nothing(
    bench: WorkerEnvironment, tmp_path: Path
) -> None:
    assert probe(bench) is None

    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def test_what_a_killed_probe_leaves_is_collected_with_the_bytes_of_jobs_that_never_were(
    bench: WorkerEnvironment, tmp_path: Path
) -> None:
    class Killed(Files):
        def delete(self, prefix: str) -> None:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        probe(replace(bench, artifacts=Killed(tmp_path / "artifacts")))

    assert [path.name for path in (tmp_path / "artifacts").iterdir()] == ["jobs"]
    (folder,) = bench.artifacts.children("jobs")
    assert is_id("job", folder)


@pytest.mark.parametrize("program", ["/bin/false", "/nowhere/ffmpeg"])
def test_an_ffmpeg_that_does_not_start_is_told(
    bench: WorkerEnvironment, monkeypatch: pytest.MonkeyPatch, program: str
) -> None:
    monkeypatch.setenv("IMAGEIO_FFMPEG_EXE", program)

    assert "ffmpeg does not start" in (probe(bench) or "")


@pytest.mark.parametrize("place", ["the scratch folder", "the artifact store"])
def test_a_folder_that_takes_no_file_is_told_by_its_use_and_not_by_its_path(
    bench: WorkerEnvironment, tmp_path: Path, place: str
) -> None:
    (tmp_path / "file").write_text("a file has no place for files")
    inside = tmp_path / "file" / "inside"
    broken = (
        replace(bench, scratch=inside)
        if place == "the scratch folder"
        else replace(bench, artifacts=Files(inside))
    )

    assert probe(broken) == f"{place}: Not a directory"
