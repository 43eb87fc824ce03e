"""The real diffusers classes on a tiny random checkpoint, through the whole service."""

from collections.abc import Iterator

import httpx
import pytest

from tests.journey.service import Running, running
from tests.tiny import build_ltx

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    folder = tmp_path_factory.mktemp("ltx")
    weights = build_ltx(folder / "weights")
    with running(folder, models=["ltx-2b", "slate"], weights={"ltx-2b": str(weights)}) as found:
        yield found


def clip(service: Running, **ask: object) -> dict[str, object]:
    job = service.submit(**{"width": 96, "height": 64, "num_frames": 9, "seed": 3, **ask})
    done = service.wait(job["id"], seconds=120)
    assert done["status"] == "succeeded", f"{done}\n{service.log()}"
    return done


def test_a_real_model_makes_exactly_what_was_asked(service: Running) -> None:
    done = clip(service)

    result = done["result"]
    assert (result["width"], result["height"], result["num_frames"], result["fps"]) == (
        96, 64, 9, 24,
    )  # fmt: skip
    assert done["sandbox"] is False
    assert result["made_with"]["compile"] in ("on", "off: no CUDA GPU")
    assert "model loaded" in service.log()
    assert done["model"] == "ltx-2b"  # the first of the models is the default


def test_seed_and_prompt_decide_the_pictures(service: Running) -> None:
    made = [
        clip(service)["result"],
        clip(service)["result"],
        clip(service, seed=4)["result"],
        clip(service, prompt="snow over the mountains at night")["result"],
    ]

    base, same, seed, prompt = (httpx.get(one["last_frame_url"]).content for one in made)
    assert base == same
    assert base != seed
    assert base != prompt


def test_the_model_is_kept_warm_between_jobs(service: Running) -> None:
    clip(service)

    assert clip(service)["timings_ms"]["load"] < 50
    assert service.client.get("/health").json()["warm"] is True


def test_a_worker_changes_its_model_when_a_job_asks(service: Running) -> None:
    assert clip(service, model="slate")["sandbox"] is True
    assert clip(service, model="ltx-2b")["sandbox"] is False


def test_a_running_model_is_canceled_within_a_step(service: Running) -> None:
    job = service.submit(width=768, height=512, num_frames=121, seed=3)
    service.until(job["id"], lambda job: job["stage"] == "generate", seconds=120)
    service.client.post(f"/v1/jobs/{job['id']}/cancel")

    canceled = service.wait(job["id"], seconds=60)

    assert canceled["status"] == "canceled"
    assert canceled["progress"] < 86  # never came to decoding
    assert clip(service)["status"] == "succeeded"


def test_a_prompt_that_the_model_cannot_read_fails_in_plain_words(service: Running) -> None:
    job = service.submit(prompt="ball " * 700, width=96, height=64, num_frames=9)

    failed = service.wait(job["id"], seconds=60)

    assert failed["status"] == "failed"
    assert failed["attempts"] == 1
    assert (failed["error"]["kind"], failed["error"]["code"]) == ("user", "prompt_too_long")
