"""Where weights come from: a local folder, or the Hugging Face Hub at the card's commits."""

import errno
from pathlib import Path
from typing import Any, Protocol

from service.domain.attempt import AttemptFailed, FailureKind
from service.domain.card import ModelCard, Weights

_CANNOT_WRITE = (errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EROFS)


class Fetch(Protocol):
    """`huggingface_hub.snapshot_download`, as far as it is used here."""

    def __call__(self, repo_id: str, *, revision: str, allow_patterns: list[str]) -> str: ...


def load_ltx(card: ModelCard, folder: Path | None, dtype: Any, fetch: Fetch | None = None) -> Any:
    """An LTXConditionPipeline, still on the CPU, from a local diffusers-format `folder`.

    Without a folder: from what the card names, first the single file of transformer and VAE, then
    the repository of everything else. Raises AttemptFailed when the weights cannot be had.
    """
    if folder is not None:
        return _assemble(folder, dtype)
    parts = [_fetched(weights, fetch or _snapshot_download()) for weights in card.weights]
    checkpoint = parts[0] / card.weights[0].files[0]
    if not checkpoint.is_file():
        # A pattern that matches nothing is no error to the hub.
        raise _unavailable(f"{card.weights[0].repo} has no file {checkpoint.name}")
    return _assemble(parts[1], dtype, checkpoint)


def _assemble(folder: Path, dtype: Any, checkpoint: Path | None = None) -> Any:
    """The pipeline in `folder`, with transformer and VAE out of `checkpoint` if one is given."""
    from diffusers import FlowMatchEulerDiscreteScheduler, LTXConditionPipeline

    if not (folder / "model_index.json").is_file():
        raise _unavailable(f"{folder} is not a folder in diffusers format: no model_index.json")
    try:
        return LTXConditionPipeline.from_pretrained(
            folder,
            # Never the folder's own: Lightricks/LTX-Video ships one that shifts and stretches the
            # sigmas of the schedule, and then insists on a `mu` that this pipeline does not pass.
            scheduler=FlowMatchEulerDiscreteScheduler(),
            **({} if checkpoint is None else _single_file(checkpoint, folder, dtype)),
            dtype=dtype,
            use_safetensors=True,
            local_files_only=True,
        )
    except OSError as exc:
        raise _unavailable(f"the weights in {folder} cannot be read: {exc}") from exc


def _single_file(checkpoint: Path, configs: Path, dtype: Any) -> dict[str, Any]:
    """Transformer and VAE from Lightricks' own format, which names no sizes: `configs` has them."""
    from diffusers import AutoencoderKLLTXVideo, LTXVideoTransformer3DModel

    models = {"transformer": LTXVideoTransformer3DModel, "vae": AutoencoderKLLTXVideo}
    return {
        name: model.from_single_file(
            str(checkpoint),
            config=str(configs),
            subfolder=name,
            dtype=dtype,
            local_files_only=True,
        )
        for name, model in models.items()
    }


def _snapshot_download() -> Fetch:
    from huggingface_hub import snapshot_download

    fetch: Fetch = snapshot_download
    return fetch


def _fetched(weights: Weights, fetch: Fetch) -> Path:
    """The local copy of `weights`; the hub's own cache keeps it for the next start."""
    from huggingface_hub.errors import HTTPError

    try:
        return Path(
            fetch(weights.repo, revision=weights.revision, allow_patterns=list(weights.files))
        )
    except (HTTPError, OSError, RuntimeError) as exc:  # RuntimeError: hf_xet, which moves the bytes
        raise _explained(weights, exc) from exc


def _explained(weights: Weights, exc: Exception) -> AttemptFailed:
    """Who must act: somebody for a full disk or a refused request, nobody for a bad connection."""
    what = f"{weights.repo} at {weights.revision[:12]}"
    reason = str(exc).partition("\n")[0]
    if getattr(exc, "errno", None) in _CANNOT_WRITE or "No space left" in reason:
        return _unavailable(
            f"{what} cannot be stored ({reason}); make room, or point HF_HOME to a disk with room"
        )
    status = _status(exc)
    if 400 <= status < 500 and status not in (408, 429):
        return _unavailable(
            f"the Hugging Face Hub refuses {what} ({reason}); set HF_TOKEN if it asks for one, or "
            "give the worker a local folder of weights"
        )
    return _unavailable(
        f"{what} could not be fetched from the Hugging Face Hub ({reason}); connect the worker to "
        "it once, or give the worker a local folder of weights",
        FailureKind.TRANSIENT,
    )


def _status(exc: BaseException | None) -> int:
    """The HTTP status behind a hub error, 0 if there was no answer at all."""
    while exc is not None:
        response = getattr(exc, "response", None)
        if response is not None:
            return int(response.status_code)
        exc = exc.__cause__
    return 0


def _unavailable(message: str, kind: FailureKind = FailureKind.INTERNAL) -> AttemptFailed:
    return AttemptFailed(kind, "weights_unavailable", message)
