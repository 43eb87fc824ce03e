"""What a deployed App does on the loopback Modal, through Modal's own client and runtime."""

import re
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import modal
import pytest

from dev.loopback_modal.harness import LoopbackModal
from tests.loopback.conftest import HERE, MARKS

pytestmark = MARKS


def spawn(client: Any, name: str, gate: Path | str = "") -> Any:
    return modal.Cls.from_name("shop", "Maker", client=client)().make.spawn(name, str(gate))


def start(cloud: LoopbackModal, client: Any, name: str, gate: Path) -> tuple[Any, str]:
    """A call that waits at the gate, and its container."""
    call = spawn(client, name, gate)
    task = cloud.running(call.object_id)
    cloud.wait(lambda: f"makes {name} {call.object_id}" in cloud.log(task))
    return call, task


def test_the_definition_arrives_whole(cloud: LoopbackModal) -> None:
    functions = cloud.functions("shop")

    maker, web, tidy = (functions[name] for name in ("Maker.*", "web", "tidy"))
    assert maker["gpus"] == ["L40S", "A100-80GB"]
    assert maker["autoscaler"] == {"max_containers": 2, "scaledown_window": 5}
    assert [m["mount_path"] for m in maker["definition"]["volume_mounts"]] == [
        "/shop/files",
        "/shop/weights",
    ]
    assert maker["definition"]["volume_mounts"][1]["read_only"]
    assert maker["definition"]["timeout_secs"] == 60
    assert web["definition"]["max_concurrent_inputs"] == 100
    assert tidy["definition"]["schedule"]["cron"]["cron_string"] == "* * * * *"


def test_a_job_goes_from_http_to_a_file_on_the_volume(
    cloud: LoopbackModal, client: Any, shop: httpx.Client
) -> None:
    call_id = shop.post("/spawn/cat").json()["call"]

    call = modal.FunctionCall.from_id(call_id, client=client)
    assert call.get(timeout=20) == {"name": "cat", "key": "k1", "colour": "deep blue"}
    files = modal.Volume.from_name("shop-files", client=client)
    assert b"".join(files.read_file("cat")) == b"[cat]"
    assert cloud.call(call_id)["args"] == "(('cat',), {})"


def test_running_done_and_expired_look_as_modal_says(
    cloud: LoopbackModal, client: Any, gate: Path
) -> None:
    call = spawn(client, "slow", gate)

    with pytest.raises(TimeoutError) as running:
        call.get(timeout=0)
    assert type(running.value) is TimeoutError
    gate.touch()
    assert call.get(timeout=20)["name"] == "slow"
    cloud.expire(call.object_id)
    with pytest.raises(modal.exception.OutputExpiredError):
        call.get(timeout=0)


def test_a_running_call_is_cancelled_and_its_container_lives_on(
    cloud: LoopbackModal, client: Any, gate: Path
) -> None:
    call, task = start(cloud, client, "never", gate)

    call.cancel()

    with pytest.raises(modal.exception.RemoteError):
        call.get(timeout=10)
    assert "interrupted by InputCancellation" in cloud.log(task)
    assert task in [c["task"] for c in cloud.containers()]


def test_a_pending_call_is_cancelled_and_never_runs(
    cloud: LoopbackModal, client: Any, gate: Path
) -> None:
    busy = [start(cloud, client, f"busy{n}", gate) for n in range(2)]
    waiting = spawn(client, "waiting")

    stats = modal.Cls.from_name("shop", "Maker", client=client)().make.get_current_stats()
    waiting.cancel()

    assert (stats.backlog, stats.num_total_runners, stats.num_running_inputs) == (1, 2, 2)
    assert cloud.call(waiting.object_id)["status"] == "TERMINATED"
    gate.touch()
    assert [call.get(timeout=20)["name"] for call, _ in busy] == ["busy0", "busy1"]
    assert len(cloud.containers("Maker.*")) == 2


def test_terminating_stops_the_container_in_good_order(
    cloud: LoopbackModal, client: Any, gate: Path
) -> None:
    call, task = start(cloud, client, "doomed", gate)

    call.cancel(terminate_containers=True)

    assert cloud.call(call.object_id)["status"] == "TERMINATED"
    cloud.wait(lambda: task not in [c["task"] for c in cloud.containers()])
    assert "leaves" in cloud.log(task)


@pytest.mark.parametrize("how", ["preempt", "crash"])
def test_a_lost_container_has_its_input_run_again(
    cloud: LoopbackModal, client: Any, gate: Path, how: str
) -> None:
    call, task = start(cloud, client, how, gate)

    getattr(cloud, how)(task)

    cloud.wait(lambda: task not in [c["task"] for c in cloud.containers()])
    gate.touch()
    assert call.get(timeout=20)["name"] == how
    assert cloud.call(call.object_id)["attempt"] == 1
    assert ("interrupted by KeyboardInterrupt" in cloud.log(task)) == (how == "preempt")


def test_a_running_input_is_delivered_twice(cloud: LoopbackModal, client: Any, gate: Path) -> None:
    call, first = start(cloud, client, "twice", gate)

    cloud.redeliver(call.object_id)

    second = cloud.wait(lambda: set(cloud.call(call.object_id)["tasks"]) - {first}).pop()
    cloud.wait(lambda: f"makes twice {call.object_id}" in cloud.log(second))
    gate.touch()
    assert call.get(timeout=20)["name"] == "twice"
    assert cloud.call(call.object_id)["attempt"] == 0


@pytest.mark.parametrize(("way", "times"), [("unavailable", 1), ("reset", 1)])
def test_a_lost_spawn_answer_is_made_good_by_the_clients_retry(
    cloud: LoopbackModal, client: Any, way: str, times: int
) -> None:
    name = f"lost-{way}"
    cloud.lose_next_spawn_answer(way, times)

    call = spawn(client, name)

    assert call.get(timeout=20)["name"] == name
    assert len([c for c in cloud.calls("Maker.*") if name in c["args"]]) == 1


def test_a_spawn_whose_answers_are_all_lost_fails_and_yet_runs(
    cloud: LoopbackModal, client: Any
) -> None:
    cloud.lose_next_spawn_answer(times=4)

    with pytest.raises(modal.exception.ServiceError):
        spawn(client, "orphan")

    (call,) = [c for c in cloud.calls("Maker.*") if "orphan" in c["args"]]
    assert cloud.finished(call["id"])["status"] == "SUCCESS"


def test_large_arguments_and_results_go_through_blobs(cloud: LoopbackModal, client: Any) -> None:
    data = bytes(range(256)) * 400

    call = modal.Cls.from_name("shop", "Maker", client=client)().echo.spawn(data)

    assert call.get(timeout=20) == data
    assert cloud.call(call.object_id)["args"].startswith("blob ")


def test_options_make_a_pool_of_their_own(cloud: LoopbackModal, client: Any) -> None:
    maker = modal.Cls.from_name("shop", "Maker", client=client)

    given = maker.with_options(gpu="H100", timeout=9, max_containers=1)().echo.remote(b"x")

    assert given == b"x"
    (bound,) = [f for f in cloud.get("functions") if f["bound"]]
    assert (bound["gpus"], bound["definition"]["timeout_secs"]) == (["H100"], 9)
    assert bound["autoscaler"] == {"max_containers": 1, "scaledown_window": 5}


def test_a_cron_runs_on_demand(cloud: LoopbackModal, client: Any) -> None:
    call_id = cloud.tick("tidy")

    assert modal.FunctionCall.from_id(call_id, client=client).get(timeout=20) == "tidied"


def test_http_passes_both_ways_untouched(cloud: LoopbackModal, shop: httpx.Client) -> None:
    source = (HERE / "goods.py").read_bytes()
    parts = (bytes([97 + n % 26]) * 70_000 for n in range(40))

    told = shop.get("/headers?a=%2Fb", headers={"X-Shop": "open"}).json()
    mirrored = shop.post("/mirror", content=parts)
    head = shop.head("/self")
    part = shop.get("/self", headers={"Range": "bytes=10-19"})
    named = httpx.get(
        cloud.http + "/headers", headers={"Host": "shop.localhost"}, timeout=20
    ).json()

    assert (told["headers"]["x-shop"], told["path"], told["q"]) == ("open", "/headers", "a=%2Fb")
    assert mirrored.content == b"".join(bytes([65 + n % 26]) * 70_000 for n in range(40))
    assert (head.headers["content-length"], head.content) == (str(len(source)), b"")
    assert (part.status_code, part.content) == (206, source[10:20])
    assert part.headers["content-range"] == f"bytes 10-19/{len(source)}"
    assert named["path"] == "/headers"
    for nowhere in ("/web/nowhere/", "/", "/shop", "/web", "/web/"):
        wrong = httpx.get(cloud.http + nowhere)
        assert wrong.status_code == 404
        assert f"\n{cloud.http}/web/shop\n" in wrong.text


def test_the_app_hears_that_its_client_hung_up(cloud: LoopbackModal, shop: httpx.Client) -> None:
    with shop.stream("GET", "/drip") as response:
        assert next(response.iter_bytes()).startswith(b"drop")

    cloud.wait(lambda: shop.get("/left").json() == ["drip"])


def test_a_hundred_requests_share_one_container(cloud: LoopbackModal, shop: httpx.Client) -> None:
    with ThreadPoolExecutor(50) as pool:
        answers = list(pool.map(lambda _: shop.get("/headers").status_code, range(100)))

    assert answers == [200] * 100
    assert len(cloud.containers("web")) == 1


def test_containers_are_kept_as_told(cloud: LoopbackModal, client: Any) -> None:
    tidy = modal.Function.from_name("shop", "tidy", client=client)

    settings = tidy.autoscaler.update(min_containers=2)
    cloud.wait(lambda: len([c for c in cloud.containers("tidy") if c["ready"]]) == 2)
    cloud.crash(cloud.containers("tidy")[0]["task"])
    cloud.wait(lambda: len([c for c in cloud.containers("tidy") if c["ready"]]) == 2)
    tidy.autoscaler.update(min_containers=0, scaledown_window=2)

    assert settings.min_containers == 2
    cloud.wait(lambda: not cloud.containers("tidy"))
    web = modal.Function.from_name("shop", "web", client=client)
    assert web.get_web_url() == f"{cloud.http}/web/shop"


def test_the_cli_lists_what_there_is(cloud: LoopbackModal) -> None:
    cloud.modal("volume", "create", "extra")

    with ThreadPoolExecutor() as pool:
        kinds = ("app", "secret", "volume")
        listed = list(pool.map(lambda kind: cloud.modal(kind, "list", "--json"), kinds))

    assert re.search(r'"shop"', listed[0])
    assert "shop-keys" in listed[1]
    assert "extra" in listed[2]
    assert "shop-files" in listed[2]
