"""One model takes over from another, through the whole service and on real faults."""

import resource
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.journey.service import Running, running
from tests.tiny import build_ltx

pytestmark = pytest.mark.slow

SIZE = {"width": 96, "height": 64, "num_frames": 9}


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """ltx-13b is the default, and its weights are not there."""
    folder = tmp_path_factory.mktemp("fallback")
    (folder / "nothing").mkdir()
    weights = {"ltx-13b": str(folder / "nothing"), "ltx-2b": str(build_ltx(folder / "weights"))}
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OMP_NUM_THREADS", "1")
        models = ["ltx-13b", "ltx-2b", "slate"]
        with running(folder, models=models, weights=weights) as found:
            yield found


def steps(job: dict[str, object]) -> list[tuple[str, str, str, str]]:
    return [
        (one["model"], one["profile"], one["code"], one["next_model"])
        for one in job["fell_back"]  # type: ignore[attr-defined]
    ]


def test_where_the_weights_are_missing_the_default_hands_on(service: Running) -> None:
    job = service.submit(**SIZE, seed=3)
    assert (job["model"], [each["model"] for each in job["fallbacks"]]) == ("ltx-13b", ["ltx-2b"])

    done = service.wait(job["id"], seconds=120)

    assert done["status"] == "succeeded", f"{done}\n{service.log()}"
    assert (done["model"], done["input"]["model"]) == ("ltx-2b", "ltx-2b")
    assert steps(done) == [("ltx-13b", "full", "weights_unavailable", "ltx-2b")]
    changed = done["fell_back"][0]["changes"]
    assert changed == {"num_inference_steps": {"before": 10, "after": 7}}


def test_a_model_that_was_named_alone_stands_alone(service: Running) -> None:
    done = service.wait(service.submit(**SIZE, model="ltx-13b")["id"], seconds=60)

    assert (done["status"], done["error"]["code"]) == ("failed", "weights_unavailable")
    assert done["fell_back"] == []


def test_what_does_not_fit_is_tried_in_less_memory_and_then_by_the_next_model(
    service: Running,
) -> None:
    warm = service.wait(service.submit(**SIZE, model="ltx-2b")["id"], seconds=60)
    assert warm["status"] == "succeeded"
    (worker,) = service.children("worker")
    with little_room(worker, megabytes=200):
        large = {"width": 1280, "height": 704, "num_frames": 65, "fps": 24}
        job = service.submit(**large, models=["ltx-2b", "slate"])
        done = service.wait(job["id"], seconds=240)

    assert steps(done)[:2] == [
        ("ltx-2b", "full", "out_of_memory", "ltx-2b"),
        ("ltx-2b", "small", "out_of_memory", "slate"),
    ]
    assert (done["status"], done["model"]) == ("succeeded", "slate")
    # The worker has lived through it, and has its model in full again.
    again = service.wait(service.submit(**SIZE, model="ltx-2b")["id"], seconds=60)
    assert (again["status"], again["profile"]) == ("succeeded", "full")


class little_room:  # noqa: N801
    """So many bytes more may this process take, and then no more."""

    def __init__(self, process: int, *, megabytes: int) -> None:
        self.process = process
        taken = int(Path(f"/proc/{process}/statm").read_text().split()[0])
        self.most = taken * resource.getpagesize() + (megabytes << 20)

    def __enter__(self) -> None:
        self.before = resource.prlimit(
            self.process, resource.RLIMIT_AS, (self.most, resource.RLIM_INFINITY)
        )

    def __exit__(self, *fault: object) -> None:
        resource.prlimit(self.process, resource.RLIMIT_AS, self.before)
