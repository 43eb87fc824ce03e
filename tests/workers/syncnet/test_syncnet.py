"""SyncNet's score: by its real package with weights made up for the test, and by a stand-in for its
program. The real weights are the operator's to fetch."""

import os
import re
import stat
import subprocess
import sysconfig
import venv
from dataclasses import replace
from pathlib import Path

import pytest

from service.artifacts.files import Files
from service.cli.exits import CannotStart
from service.cli.processes.up import check_packages
from service.domain.attempt import AttemptFailed, FailureKind, Outcome
from service.domain.models.catalog import PUPPET
from service.settings import Settings
from service.workers.adapters.puppet import Puppet
from service.workers.ffmpeg import ffmpeg_path
from service.workers.recipe import make_video
from service.workers.stages.mp4_index import read_index
from service.workers.syncnet import MAX_SECONDS, SyncNet, judge, missing_files
from tests.workers.avatars import JOB, environment, make, ticket, video_of

pytestmark = pytest.mark.slow

PACKAGES = Path(__file__).parents[3] / ".tools" / "syncnet"


def stand_in(folder: Path, body: str) -> Path:
    """Make the folder of an operator whose Python runs a shell script: $3 is the video, $7 the file
    to write."""
    (folder / "bin").mkdir(parents=True)
    program = folder / "bin" / "python"
    program.write_text(f"#!/bin/sh\n{body}\n")
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    for name in ("sfd_face.pth", "syncnet_v2.model"):
        (folder / name).touch()
    return folder


def score_with(artifacts: Files, folder: Path, text: str, **changes: object) -> Outcome:
    return make_video(
        ticket(artifacts, text=text, **changes),
        Puppet(PUPPET),
        replace(environment(artifacts), syncnet=SyncNet(folder, {})),
        f"jobs/{JOB}/2",
        lambda *_: None,
    )


@pytest.fixture
def artifacts(tmp_path: Path) -> Files:
    return Files(tmp_path / "artifacts")


TEXT = "The quick brown fox jumps over the lazy dog, again and again and again."
FOUND = '{"tracks": [{"offset": -1, "lse_c": 6.0, "lse_d": 7.25}], "frames": 1000}'


def test_a_video_is_scored_by_the_program_of_the_operator(artifacts: Files, tmp_path: Path) -> None:
    seen = tmp_path / "seen.mp4"
    folder = stand_in(tmp_path / "syncnet", f'cp "$3" {seen}; echo \'{FOUND}\' > "$7"')

    outcome = score_with(artifacts, folder, TEXT)

    found = outcome.facts.lip_sync
    assert found is not None
    assert (found.method, found.score, found.offset_ms) == ("syncnet", 0.75, 40)
    assert (found.lse_c, found.lse_d, found.face_coverage) == (6.0, 7.25, 1.0)
    assert outcome.facts.warnings == ()
    index = read_index(seen)
    assert index.track("soun") is not None
    assert index.track("vide") is not None
    assert index.track("vide").samples == outcome.facts.num_frames


NO_FACE = '{"tracks": [], "frames": 0}'
NO_NUMBER = '{"tracks": [{"offset": 0, "lse_c": NaN, "lse_d": 7.0}], "frames": 50}'


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ("echo CUDA out of memory >&2; exit 3", "exits with 3: CUDA out of memory"),
        ("exit 0", "writes no score: FileNotFoundError"),
        ('echo "{" > "$7"', "writes no score: JSONDecodeError"),
        ('echo "[]" > "$7"', "writes no score: TypeError"),
        (f"echo '{NO_NUMBER}' > \"$7\"", "writes no score: ValueError"),
        (f"echo '{NO_FACE}' > \"$7\"", "follows no face"),
    ],
)
def test_a_program_that_fails_leaves_the_score_to_the_envelope(
    artifacts: Files, tmp_path: Path, caplog: pytest.LogCaptureFixture, body: str, reason: str
) -> None:
    folder = stand_in(tmp_path / "syncnet", body)

    facts = score_with(artifacts, folder, TEXT).facts

    assert facts.lip_sync is not None
    assert facts.lip_sync.method == "envelope"
    assert facts.lip_sync.score is not None
    assert [re.sub(" .*", "", warning) for warning in facts.warnings] == ["SyncNet"]
    assert reason in str(caplog.records[-1].__dict__["reason"])


def test_a_canceled_job_ends_its_program(
    artifacts: Files, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    canceled = AttemptFailed(FailureKind.CANCELED, "canceled", "canceled on request")
    started = tmp_path / "pid"
    folder = stand_in(tmp_path / "syncnet", f"echo $$ > {started}; exec sleep 600")

    def cancel_when_started(*_: object) -> None:
        if started.exists():
            raise canceled

    with pytest.raises(AttemptFailed, match="on request"):
        make_video(
            ticket(artifacts, text=TEXT),
            Puppet(PUPPET),
            replace(environment(artifacts), syncnet=SyncNet(folder, {})),
            f"jobs/{JOB}/2",
            cancel_when_started,
        )

    assert "SyncNet failed" not in caplog.text
    with pytest.raises(ProcessLookupError):
        os.kill(int(started.read_text()), 0)


def test_a_short_video_is_not_measured(artifacts: Files, tmp_path: Path) -> None:
    folder = stand_in(tmp_path / "syncnet", "exit 3")

    found = score_with(artifacts, folder, TEXT, num_frames=50).facts.lip_sync

    assert found is not None
    assert (found.score, found.reason) == (None, "the video is too short")


def test_only_the_start_of_a_long_video_is_measured(artifacts: Files, tmp_path: Path) -> None:
    seen = tmp_path / "seen.mp4"
    folder = stand_in(tmp_path / "syncnet", f'cp "$3" {seen}; echo \'{FOUND}\' > "$7"')
    outcome = make(artifacts, text=TEXT)
    video, longer = video_of(artifacts, outcome), tmp_path / "long.mp4"
    options = f"-v error -stream_loop -1 -i {video} -t {MAX_SECONDS + 5} -preset ultrafast {longer}"
    subprocess.run([ffmpeg_path(), *options.split()], check=True)

    SyncNet(folder, {}).score(longer, (MAX_SECONDS + 5) * 25, tmp_path, lambda: None)

    found = read_index(seen).track("vide")
    assert found is not None
    # Its last frames refer to some behind the cut, and go with them.
    assert MAX_SECONDS * 25 - 5 <= found.samples <= MAX_SECONDS * 25


@pytest.mark.parametrize(
    ("lse_c", "offset", "score"),
    [
        *((9.0, 0, 1.0), (7.5, 2, 1.0), (7.5, -2, 1.0)),
        *((4.5, 0, 0.5), (1.5, 0, 0.0), (0.2, 0, 0.0)),
        *((7.5, 3, 0.8), (7.5, -5, 0.4), (7.5, 7, 0.0), (7.5, 15, 0.0)),
    ],
)
def test_a_score_is_of_the_confidence_and_the_offset(
    lse_c: float, offset: int, score: float
) -> None:
    found = judge([{"offset": offset, "lse_c": lse_c, "lse_d": 7.0}], 1.0)

    assert (found.score, found.offset_ms) == (score, -40 * offset)


def test_the_face_that_fits_the_sound_best_is_the_speaker() -> None:
    bystander = {"offset": 9, "lse_c": 0.8, "lse_d": 12.0}
    speaker = {"offset": 0, "lse_c": 6.0, "lse_d": 7.0}

    assert judge([bystander, speaker], 1.0) == judge([speaker], 1.0)


def test_a_video_without_a_face_is_not_scored() -> None:
    found = judge([{"offset": 0, "lse_c": 6.0, "lse_d": 7.0}], 0.59)

    assert (found.score, found.reason) == (None, "too few frames show a face")


def test_a_worker_does_not_start_without_what_it_scores_with(tmp_path: Path) -> None:
    folder = stand_in(tmp_path / "syncnet", "exit 3")
    settings = Settings(_env_file=None, data_dir=tmp_path, models=["slate"], syncnet=folder)

    check_packages(settings)
    (folder / "sfd_face.pth").unlink()

    assert missing_files(folder) == ["sfd_face.pth"]
    with pytest.raises(CannotStart, match=r"RUSHES_SYNCNET: .* lacks sfd_face\.pth"):
        check_packages(settings)


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make an environment as an operator has it, but with torch from the tests' own."""
    folder = tmp_path_factory.mktemp("syncnet") / "environment"
    venv.create(folder, with_pip=False)
    paths = [str(PACKAGES), sysconfig.get_path("purelib")]
    (site,) = folder.glob("lib/python*/site-packages")
    (site / "tests.pth").write_text("\n".join(paths))
    run(folder, str(Path(__file__).with_name("weights.py")), str(folder))
    return folder


def run(folder: Path, *arguments: str) -> str:
    command = [str(folder / "bin" / "python"), *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def test_the_real_package_measures_a_finished_video(artifacts: Files, installed: Path) -> None:
    """With random weights: that it gets what it needs, and that its figures are passed on."""
    outcome = score_with(artifacts, installed, TEXT, num_frames=55)

    found = outcome.facts.lip_sync
    assert outcome.facts.warnings == ()
    assert found is not None
    assert (found.method, found.reason, found.face_coverage) == ("syncnet", None, 1.0)
    assert found.lse_c is not None
    assert 0 <= found.lse_c < 1.5
    assert found.lse_d is not None
    assert found.lse_d > 0
    assert found.offset_ms is not None
    assert found.offset_ms % 40 == 0
    assert found.score == 0.0


def test_an_offset_has_the_sign_that_the_package_gives_it(installed: Path) -> None:
    """Features of a sound that comes three frames after those of the mouth."""
    program = """
import torch
from syncnet_python.SyncNetInstance import calc_pdist
mouth = torch.randn(60, 8)
sound = torch.roll(mouth, 3, dims=0)
distances = torch.mean(torch.stack(calc_pdist(mouth, sound, vshift=15), 1), 1)
print(15 - int(distances.argmin()))
"""
    offset = int(run(installed, "-c", program))

    assert judge([{"offset": offset, "lse_c": 6.0, "lse_d": 7.0}], 1.0).offset_ms == 120
