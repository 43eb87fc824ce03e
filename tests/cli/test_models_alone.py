"""Models that this machine cannot run, or can run without a GPU: said before anything starts."""

import json
from pathlib import Path

import pytest

from service.cli.processes import up
from service.domain.models.catalog import CARDS
from service.installation import missing_modules
from service.settings import Settings
from service.workers.adapters.diffusion import DiffusionAdapter
from service.workers.adapters.registry import make_adapter
from tests.cli.conftest import Rushes

TORCH = "packages that are not installed (torch)"


@pytest.fixture
def without(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Processes that find neither torch nor OpenCV nor boto3."""
    hidden = "import sys\nfor name in ('torch', 'cv2', 'boto3'): sys.modules[name] = None\n"
    (tmp_path / "hidden").mkdir()
    (tmp_path / "hidden" / "sitecustomize.py").write_text(hidden)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "hidden"), prepend=":")


@pytest.mark.slow
def test_a_model_whose_packages_are_missing_stops_the_start(alone: Rushes, without: None) -> None:
    video = alone("up", "--port", "0", models='["slate", "ltx-2b"]')
    avatar = alone("up", "--port", "0", models='["puppet"]')
    worker = alone("worker", models='["ltx-2b"]', worker_token="x" * 24)

    needs = f"ltx-2b needs {TORCH}: run `make torch`\n"
    assert (video.returncode, video.stderr) == (1, f"rushes cannot start: {needs}")
    assert avatar.stderr.endswith(
        "needs packages that are not installed (cv2): run `make avatar`\n"
    )
    assert (worker.returncode, worker.stderr) == (1, f"rushes cannot start: {needs}")


@pytest.mark.slow
def test_without_longcat_s_code_its_address_is_told(alone: Rushes) -> None:
    started = alone("up", "--port", "0", models='["longcat"]')

    assert started.returncode == 1
    assert "longcat needs its authors' code: clone https://github.com/meituan-" in started.stderr


@pytest.mark.slow
def test_the_doctor_speaks_of_the_models_of_the_settings(alone: Rushes, without: None) -> None:
    found = alone("doctor")
    chosen = alone("doctor", "--json", models='["ltx-2b"]')
    elsewhere = alone("doctor", "--json", models='["ltx-2b"]', workers=0)
    unknown = alone("doctor", models='["nope"]')

    assert found.returncode == 0, found.stderr
    assert "✓ models: slate, chosen for this machine" in found.stdout
    assert "! packages for avatar: not installed; `make avatar` installs what puppet needs" in (
        found.stdout
    )
    assert chosen.returncode == 1
    checks = json.loads(chosen.stdout)["checks"]
    assert [each["detail"] for each in checks if each["status"] == "fault"] == [
        f"ltx-2b needs {TORCH}: run `make torch`"
    ]
    assert any("none found: ltx-2b will be very slow" in each["detail"] for each in checks)
    assert elsewhere.returncode == 0
    assert "✗ models: unknown model 'nope'" in unknown.stdout


@pytest.mark.slow
def test_a_setting_that_cannot_be_served_stops_the_start_in_one_line(
    alone: Rushes, without: None
) -> None:
    bucket = alone("up", "--port", "0", s3_bucket="videos")
    worker = alone("worker", s3_bucket="videos", models='["slate"]', worker_token="x" * 24)

    needs = "rushes cannot start: RUSHES_S3_BUCKET needs boto3; `make s3` installs it\n"
    assert (bucket.returncode, bucket.stderr) == (1, needs)
    assert (worker.returncode, worker.stderr) == (1, needs)


def test_every_model_on_torch_says_so() -> None:
    on_torch = {
        card.name for card in CARDS.values() if isinstance(make_adapter(card), DiffusionAdapter)
    }

    assert on_torch == {card.name for card in CARDS.values() if card.extra == "torch"}
    assert CARDS["slate"].extra is None
    # All can be asked; the code of longcat is not here.
    missing = {name for card in CARDS.values() for name in missing_modules(card.extra)}
    assert missing <= {"longcat_video"}


@pytest.mark.parametrize(
    ("model", "warns"), [("puppet", False), ("ltx-2b", True)], ids=["puppet", "ltx-2b"]
)
def test_a_gpu_is_missed_only_by_a_model_that_uses_one(
    monkeypatch: pytest.MonkeyPatch, model: str, warns: bool
) -> None:
    monkeypatch.setattr(up, "accelerator", lambda: None)

    told = up._default_model(Settings(models=[model]))

    assert told.startswith(f"default model: {model}")
    assert ("no GPU" in told) is warns
