"""The models of a machine whose settings name none."""

import pytest

from service import installation
from service.cli.processes import detect

TORCH = ("torch", "diffusers", "transformers")
PACKAGES = (*TORCH, "ai_edge_litert", "cv2")


@pytest.mark.parametrize(
    ("device", "packages", "models"),
    [
        (None, (), ["slate"]),
        (None, ("ai_edge_litert", "cv2"), ["slate", "puppet"]),
        (None, (*PACKAGES, "longcat_video"), ["slate", "puppet"]),
        ("cuda", TORCH, ["ltx-2b", "slate"]),
        ("cuda", PACKAGES, ["ltx-2b", "slate", "puppet"]),
        ("cuda", (*PACKAGES, "longcat_video"), ["ltx-2b", "slate", "longcat", "puppet"]),
        # Without the check of the face, and on a GPU that is not NVIDIA's, it is not served.
        ("cuda", (*TORCH, "longcat_video"), ["ltx-2b", "slate"]),
        ("mps", (*PACKAGES, "longcat_video"), ["ltx-2b", "slate", "puppet"]),
    ],
)
def test_what_is_served_where_nothing_is_said(
    monkeypatch: pytest.MonkeyPatch,
    device: str | None,
    packages: tuple[str, ...],
    models: list[str],
) -> None:
    monkeypatch.setattr(detect, "accelerator", lambda: device)
    monkeypatch.setattr(installation, "find_spec", lambda name: name if name in packages else None)

    assert detect.models_to_serve() == models
