"""Weights from a local folder, or from the Hugging Face Hub at the card's commits."""

import errno
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

from service.domain.attempt import AttemptFailed, FailureKind
from service.domain.models.card import ModelCard, Weights

_CANNOT_WRITE = (errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EROFS)


class Fetch(Protocol):
    """The used part of the signature of `huggingface_hub.snapshot_download`."""

    def __call__(self, repo_id: str, *, revision: str, allow_patterns: list[str]) -> str: ...


def find_weights(card: ModelCard, folder: Path | None, fetch: Fetch | None = None) -> list[Path]:
    """Return a local folder for each of the card's weights; a configured `folder` replaces all.

    Raises AttemptFailed when the weights are unavailable.
    """
    if folder is not None:
        return [folder]
    fetch = fetch or _snapshot_download()
    return [_fetch_snapshot(card.name, weights, fetch) for weights in card.weights]


def silence_libraries() -> None:
    """Turn off progress bars and warnings, which would fill the worker's log."""
    from diffusers.utils import logging as diffusers_logging
    from transformers.utils import logging as transformers_logging

    for logging in (diffusers_logging, transformers_logging):
        logging.set_verbosity_error()
        logging.disable_progress_bar()


def read_pipeline(pipeline: Any, folder: Path, dtype: Any, **overrides: Any) -> Any:
    """Read a diffusers pipeline of this class onto the CPU from a folder in diffusers format.

    `overrides` are components, or options of the pipeline, that replace the folder's.
    """
    if not (folder / "model_index.json").is_file():
        raise _unavailable(f"{folder} is not a folder in diffusers format: no model_index.json")
    return read(
        folder,
        lambda: pipeline.from_pretrained(
            folder, dtype=dtype, use_safetensors=True, local_files_only=True, **overrides
        ),
    )


def read_model(model: Any, folder: Path, part: str | None, dtype: Any, **overrides: Any) -> Any:
    """Read one component of a pipeline from the subfolder `part`, or from `folder` itself.

    `overrides` replace values of its configuration.
    """
    return read(
        folder,
        lambda: model.from_pretrained(
            folder,
            subfolder=part,
            dtype=dtype,
            use_safetensors=True,
            local_files_only=True,
            **overrides,
        ),
    )


def read_single_file(model: Any, checkpoint: Path, configs: Path, part: str, dtype: Any) -> Any:
    """Read a component from its authors' single file; its configuration comes from `configs`."""
    return read(
        checkpoint,
        lambda: model.from_single_file(
            str(checkpoint), config=str(configs), subfolder=part, dtype=dtype, local_files_only=True
        ),
    )


def find_file(weights: Weights, folder: Path) -> Path:
    """Return the file that `weights` names; the hub ignores patterns without a match."""
    file = folder / weights.files[0]
    if not file.is_file():
        raise _unavailable(f"{weights.repo} has no file {file.name}")
    return file


def read(source: Path, load: Callable[[], Any]) -> Any:
    """Return what `load` reads from `source`. Raises AttemptFailed where files are missing."""
    try:
        return load()
    except OSError as exc:
        raise _unavailable(f"the weights in {source} cannot be read: {exc}") from exc


def _snapshot_download() -> Fetch:
    from huggingface_hub import snapshot_download

    fetch: Fetch = snapshot_download
    return fetch


def _fetch_snapshot(model: str, weights: Weights, fetch: Fetch) -> Path:
    """Download `weights` into the hub's cache, or find them there."""
    from huggingface_hub.errors import HTTPError

    try:
        return Path(
            fetch(weights.repo, revision=weights.revision, allow_patterns=list(weights.files))
        )
    except (HTTPError, OSError, RuntimeError) as exc:  # RuntimeError: from hf_xet
        raise _hub_failure(model, weights, exc) from exc


def _hub_failure(model: str, weights: Weights, exc: Exception) -> AttemptFailed:
    """Classify a hub error: machine for a full disk, internal if refused, else transient."""
    snapshot = f"{weights.repo} at {weights.revision[:12]}"
    reason = str(exc).partition("\n")[0]
    if getattr(exc, "errno", None) in _CANNOT_WRITE or "No space left" in reason:
        return _unavailable(
            f"{snapshot} cannot be stored ({reason}); free space, or set HF_HOME to another disk",
            FailureKind.MACHINE,
        )
    status = _status(exc)
    local = f"set RUSHES_WEIGHTS to a local folder: {json.dumps({model: '/a/folder'})}"
    if 400 <= status < 500 and status not in (408, 429):
        return _unavailable(
            f"huggingface.co refuses {snapshot} ({reason}); set HF_TOKEN if it asks for one, or "
            f"{local}"
        )
    problem = f"huggingface.co responds with {status}" if status else "cannot reach huggingface.co"
    return _unavailable(
        f"{problem}, for {snapshot} ({reason}); connect the machine, or {local}",
        FailureKind.TRANSIENT,
    )


def _status(exc: BaseException | None) -> int:
    """Return the HTTP status behind a hub error; 0 without a response."""
    while exc is not None:
        response = getattr(exc, "response", None)
        if response is not None:
            return int(response.status_code)
        exc = exc.__cause__
    return 0


def _unavailable(message: str, kind: FailureKind = FailureKind.INTERNAL) -> AttemptFailed:
    return AttemptFailed(kind, "weights_unavailable", message)
