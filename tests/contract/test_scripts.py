"""Each script can at least be imported: what it takes from the service is still there."""

import re
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest

FOLDER = Path(__file__).parents[2] / "scripts"
NAMES = {path.stem for path in FOLDER.glob("*.py")} - {"modal_text_to_video"}  # tests/modal has it


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(NAMES))
def test_it_can_be_imported(name: str) -> None:
    assert import_module(f"scripts.{name}").__doc__


@pytest.mark.slow
def test_lips_are_trained_on_a_few_sentences(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from scripts import train_lips
    from service.workers.puppet import lips

    monkeypatch.setattr(train_lips, "WEIGHTS", tmp_path / "lips.npz")
    monkeypatch.setattr(lips, "WEIGHTS", tmp_path / "lips.npz")

    train_lips.main(count=24, epochs=4)

    errors = [float(error) for error in re.findall(r"error ([\d.]+)", capsys.readouterr().out)]
    assert len(errors) == 4
    assert errors[-1] < 0.8 * errors[0]
    curve = lips.LipReader().read(np.zeros(16_000, np.float32))
    assert curve.shape == (100, 7)
    assert np.isfinite(curve).all()


def test_the_close_ups_of_the_contact_sheet_show_a_mouth_for_each_sound() -> None:
    from scripts.show_faces import COLUMNS, SOUNDS, TILE, close_ups

    row = close_ups(FOLDER / "faces" / "anna.jpg")

    side = COLUMNS * TILE // (len(SOUNDS) + 1)
    assert row.shape == (side, side * (len(SOUNDS) + 1), 3)
