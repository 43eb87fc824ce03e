"""Each script can at least be imported: what it takes from the service is still there."""

from importlib import import_module
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[2] / "scripts"
NAMES = {path.stem for path in FOLDER.glob("*.py")} - {"modal_text_to_video"}  # tests/modal has it


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(NAMES))
def test_it_can_be_imported(name: str) -> None:
    assert import_module(f"scripts.{name}").__doc__


def test_the_close_ups_of_the_contact_sheet_show_a_mouth_for_each_sound() -> None:
    from scripts.show_faces import COLUMNS, SOUNDS, TILE, close_ups

    row = close_ups(FOLDER / "faces" / "anna.jpg")

    side = COLUMNS * TILE // (len(SOUNDS) + 1)
    assert row.shape == (side, side * (len(SOUNDS) + 1), 3)
