"""What a finished attempt reports."""

from dataclasses import replace

import pytest

from service.domain.artifact import ARTIFACT_RULES
from service.domain.attempt import Artifact, VideoFacts

SIZE = {"width": 64, "height": 64, "fps": 24, "num_frames": 2}


def artifacts() -> dict[str, Artifact]:
    return {
        variant: Artifact(
            key=f"jobs/j/1/{rule.file}", media_type=rule.media_type, size_bytes=1, sha256="0" * 64
        )
        for variant, rule in ARTIFACT_RULES.items()
    }


def test_every_required_artifact_must_be_there() -> None:
    files = artifacts()
    del files["thumbnail"]

    with pytest.raises(ValueError, match="no thumbnail"):
        VideoFacts(artifacts=files, **SIZE)


def test_one_that_not_every_job_has_may_be_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in the rows of jobs that finished before it was invented."""
    rule = replace(ARTIFACT_RULES["thumbnail"], is_required=False)
    monkeypatch.setitem(ARTIFACT_RULES, "thumbnail", rule)
    files = artifacts()
    del files["thumbnail"]

    assert VideoFacts(artifacts=files, **SIZE).artifacts.keys() == files.keys()
