"""Where weights come from, and who must act when they do not."""

import errno
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from service.domain.attempt import AttemptFailed, FailureKind
from service.domain.models.catalog import LTX_2B
from service.workers.device import fits
from service.workers.weights import find_weights

pytestmark = pytest.mark.slow


def test_a_device_that_is_too_small_for_all_of_a_model_at_once_is_told_apart() -> None:
    nominal = 24_000_000_000  # what an A10 calls 24 GB

    assert fits(LTX_2B, nominal)
    assert not fits(LTX_2B, 16_000_000_000)
    assert not fits(LTX_2B.model_copy(update={"gpu_memory_gb": 50.0}), nominal)


def test_a_chosen_folder_stands_for_all_of_a_models_weights(tmp_path: Path) -> None:
    assert find_weights(LTX_2B, tmp_path) == [tmp_path]


def answer(status: int) -> Exception:
    import httpx2
    from huggingface_hub.errors import HfHubHTTPError

    request = httpx2.Request("GET", "https://huggingface.co")
    error: Exception = HfHubHTTPError("No.", response=httpx2.Response(status, request=request))
    return error


def broken_connection() -> Exception:
    import httpx2

    return httpx2.ReadTimeout("The read operation timed out")


def wrapped(status: int) -> Exception:
    from huggingface_hub.errors import LocalEntryNotFoundError

    error: Exception = LocalEntryNotFoundError("An error happened while trying to locate them")
    error.__cause__ = answer(status)
    return error


@pytest.mark.parametrize(
    ("make", "kind", "advice"),
    [
        (lambda: answer(404), FailureKind.INTERNAL, "set HF_TOKEN"),
        (lambda: wrapped(403), FailureKind.INTERNAL, "set HF_TOKEN"),
        (lambda: answer(429), FailureKind.TRANSIENT, "huggingface.co responds with 429, for"),
        (lambda: wrapped(503), FailureKind.TRANSIENT, "huggingface.co responds with 503, for"),
        (broken_connection, FailureKind.TRANSIENT, "cannot reach huggingface.co, for"),
        (lambda: ConnectionResetError("reset"), FailureKind.TRANSIENT, "connect the machine, or"),
        (lambda: OSError(errno.ENOSPC, "No space"), FailureKind.MACHINE, "free space"),
        (lambda: RuntimeError("IO: No space left"), FailureKind.MACHINE, "free space"),
    ],
)
def test_a_failing_hub_says_who_must_act(
    make: Callable[[], Exception], kind: FailureKind, advice: str
) -> None:
    def fetch(repo_id: str, *, revision: str, allow_patterns: list[str]) -> str:
        raise make()

    with pytest.raises(AttemptFailed, match=advice) as no:
        find_weights(LTX_2B, None, fetch=fetch)

    assert (no.value.kind, no.value.code) == (kind, "weights_unavailable")
    assert "Lightricks/LTX-Video" in no.value.message
    if kind is not FailureKind.MACHINE:
        assert no.value.message.endswith(
            'RUSHES_WEIGHTS to a local folder: {"ltx-2b": "/a/folder"}'
        )


def test_without_a_network_and_without_a_cache_the_real_hub_client_is_explained(
    tmp_path: Path,
) -> None:
    code = (
        "from service.domain.models.catalog import LTX_2B\n"
        "from service.domain.attempt import AttemptFailed\n"
        "from service.workers.weights import find_weights\n"
        "try: find_weights(LTX_2B, None)\n"
        "except AttemptFailed as exc: print(exc.kind, exc.code, exc.message)\n"
    )
    offline = os.environ | {"HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path)}

    out = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=offline
    )

    assert out.stdout.startswith("transient weights_unavailable cannot reach huggingface.co, for ")
    assert "Lightricks/LTX-Video at 8984fa2" in out.stdout
