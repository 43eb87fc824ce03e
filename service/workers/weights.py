"""Where weights come from: a local folder, or the Hugging Face Hub at the card's commits."""

import errno
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

from service.domain.attempt import AttemptFailed, FailureKind
from service.domain.models.card import ModelCard, Weights

_CANNOT_WRITE = (errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EROFS)


class Fetch(Protocol):
    """`huggingface_hub.snapshot_download`, as far as it is used here."""

    def __call__(self, repo_id: str, *, revision: str, allow_patterns: list[str]) -> str: ...


def find_weights(card: ModelCard, folder: Path | None, fetch: Fetch | None = None) -> list[Path]:
    """A local folder for each of the card's weights, in their order; a chosen `folder` is all.

    Raises AttemptFailed when the weights cannot be had.
    """
    if folder is not None:
        return [folder]
    return [_fetched(weights, fetch or _snapshot_download()) for weights in card.weights]


def read_pipeline(pipeline: Any, folder: Path, dtype: Any, **own: Any) -> Any:
    """A diffusers pipeline of this class, on the CPU, from a folder in diffusers format.

    `own` are components, or choices of the pipeline, to be used in place of the folder's.
    """
    if not (folder / "model_index.json").is_file():
        raise _unavailable(f"{folder} is not a folder in diffusers format: no model_index.json")
    return _read(
        folder,
        lambda: pipeline.from_pretrained(
            folder, dtype=dtype, use_safetensors=True, local_files_only=True, **own
        ),
    )


def read_model(model: Any, folder: Path, part: str | None, dtype: Any) -> Any:
    """One component of a pipeline, from its folder `part` within `folder`, or `folder` itself."""
    return _read(
        folder,
        lambda: model.from_pretrained(
            folder, subfolder=part, dtype=dtype, use_safetensors=True, local_files_only=True
        ),
    )


def read_single_file(model: Any, checkpoint: Path, configs: Path, part: str, dtype: Any) -> Any:
    """A component out of its maker's own file, which names no sizes: `configs` has them."""
    return _read(
        checkpoint,
        lambda: model.from_single_file(
            str(checkpoint), config=str(configs), subfolder=part, dtype=dtype, local_files_only=True
        ),
    )


def find_file(weights: Weights, folder: Path) -> Path:
    """The one file that `weights` names. A pattern that matches nothing is no error to the hub."""
    file = folder / weights.files[0]
    if not file.is_file():
        raise _unavailable(f"{weights.repo} has no file {file.name}")
    return file


def _read(what: Path, read: Callable[[], Any]) -> Any:
    try:
        return read()
    except OSError as exc:
        raise _unavailable(f"the weights in {what} cannot be read: {exc}") from exc


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
            f"{what} cannot be stored ({reason}); make room, or point HF_HOME to a disk with room",
            FailureKind.MACHINE,
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
