"""LongCat on a machine without its authors' package, or without one that this needs."""

from pathlib import Path

import pytest

from service.domain.attempt import AttemptFailed, FailureKind
from service.domain.models.card import ModelCard
from service.workers.adapters.longcat import Longcat
from tests.workers.longcat.weights import on_path

pytestmark = pytest.mark.slow


@pytest.mark.parametrize(
    ("module", "says"),
    [
        (None, r"clone https://github\.com/meituan-longcat/LongCat-Video and set PYTHONPATH"),
        ("import nobody_has_this", r"nobody_has_this is missing; .*longcat.* installs it"),
    ],
    ids=["no package", "a package that it needs"],
)
def test_what_is_missing_is_told(
    card: ModelCard, tmp_path: Path, module: str | None, says: str
) -> None:
    if module is not None:
        folder = tmp_path / "longcat_video"
        folder.mkdir()
        (folder / "__init__.py").touch()
        (folder / "pipeline_longcat_video_avatar.py").write_text(module)

    with on_path(tmp_path), pytest.raises(AttemptFailed, match=says) as failed:
        Longcat(card, tmp_path).load()

    assert (failed.value.kind, failed.value.code) == (FailureKind.INTERNAL, "code_unavailable")
