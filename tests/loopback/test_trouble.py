"""Failures, Volumes, Dicts and redeploys on the loopback Modal."""

import io
from pathlib import Path
from typing import Any

import modal
import pytest

from dev.loopback_modal.harness import LoopbackModal, leftovers, loopback_modal
from tests.loopback.conftest import HERE, MARKS

pytestmark = MARKS

EDITIONS = """
import time, modal
from pathlib import Path
app = modal.App("edition")
@app.function(max_containers=1)
def which(gate: str = "") -> str:
    while gate and not Path(gate).exists():
        time.sleep(0.02)
    return "EDITION"
"""


@pytest.fixture(scope="module")
def trouble(cloud: LoopbackModal) -> None:
    cloud.deploy("trouble.py", cwd=HERE)


@pytest.fixture
def unlucky(trouble: None, client: Any) -> Any:
    return modal.Cls.from_name("trouble", "Unlucky", client=client)()


@pytest.fixture
def shelf(trouble: None, client: Any) -> Any:
    return modal.Cls.from_name("trouble", "BlobStore", client=client)


@pytest.fixture
def notes(trouble: None, client: Any) -> Any:
    notes = modal.Dict.from_name("trouble-notes", create_if_missing=True, client=client)
    notes.clear()
    return notes


def test_a_timeout_is_enforced_and_named(trouble: None, client: Any) -> None:
    call = modal.Function.from_name("trouble", "too_long", client=client).spawn()

    with pytest.raises(modal.exception.FunctionTimeoutError):
        call.get(timeout=20)


def test_retries_run_out_and_the_original_exception_comes_back(
    cloud: LoopbackModal, unlucky: Any, notes: Any
) -> None:
    call = unlucky.third_time.spawn("k")

    with pytest.raises(LookupError, match="try 2"):
        call.get(timeout=20)
    assert cloud.call(call.object_id)["attempt"] == 1


def test_a_dying_container_is_replaced_until_one_lives(
    cloud: LoopbackModal, unlucky: Any, notes: Any
) -> None:
    call = unlucky.dies_once.spawn("d")

    assert call.get(timeout=30) == 2
    assert cloud.call(call.object_id)["attempt"] == 1


def test_a_failing_enter_is_tried_again_and_the_call_waits(
    trouble: None, client: Any, notes: Any
) -> None:
    stubborn = modal.Cls.from_name("trouble", "Stubborn", client=client)

    assert stubborn().entered.spawn().get(timeout=30) == 2


def test_a_source_file_that_is_not_in_the_image_is_not_found(unlucky: Any) -> None:
    call = unlucky.forgets_a_file.spawn()

    with pytest.raises(ModuleNotFoundError, match="goods"):
        call.get(timeout=20)


def test_commits_merge_by_file_and_the_last_one_wins(shelf: Any, cloud: LoopbackModal) -> None:
    one, two = shelf(label="one"), shelf(label="two")
    calls = [one.put.spawn("mine", "1"), two.put.spawn("theirs", "2")]
    calls += [one.put.spawn("both", "1"), two.put.spawn("both", "2")]
    for call in calls:
        call.get(timeout=20)

    one.commit.remote()
    two.commit.remote()
    before = one.names.remote()
    one.reload.remote()
    after = one.names.remote()
    two.remove.remote("theirs")
    two.commit.remote()

    assert before == {"mine": "1", "both": "1"}
    assert after == {"mine": "1", "theirs": "2", "both": "2"}
    assert cloud.volumes()["trouble-files"]["files"] == {"mine": 1, "both": 1}


@pytest.mark.parametrize(("how", "kept"), [("preempt", True), ("crash", False)])
def test_a_container_commits_when_it_leaves_in_good_order(
    cloud: LoopbackModal, shelf: Any, how: str, kept: bool
) -> None:
    shelf(label="three").put.remote(how, "3")
    task = cloud.containers("BlobStore.*")[-1]["task"]

    getattr(cloud, how)(task)

    cloud.wait(lambda: task not in [c["task"] for c in cloud.containers()])
    assert (how in cloud.volumes()["trouble-files"]["files"]) is kept


def test_a_reload_fails_while_a_file_is_open(shelf: Any, client: Any) -> None:
    one = shelf(label="one")
    one.put.remote("held", "x")

    said = one.reload_with_open_file.remote("held")

    assert "open files" in said
    assert "held" in said


def test_a_read_only_mount_cannot_be_written(unlucky: Any) -> None:
    assert unlucky.writes_to_read_only.remote() == "Read-only file system"


@pytest.mark.parametrize("version", [1, 2])
def test_files_go_in_and_out_of_a_volume_without_a_mount(client: Any, version: int) -> None:
    volume = modal.Volume.from_name(
        f"plain-{version}", create_if_missing=True, version=version, client=client
    )
    data = bytes(range(256)) * 40_000

    with volume.batch_upload() as batch:
        batch.put_file(io.BytesIO(data), "/deep/data")
    listed = [(entry.path, entry.size) for entry in volume.listdir("/", recursive=True)]
    read = b"".join(volume.read_file("deep/data"))
    with pytest.raises(FileExistsError), volume.batch_upload() as batch:
        batch.put_file(io.BytesIO(b""), "/deep/data")
    volume.remove_file("/deep/data")

    assert ("deep/data", len(data)) in listed
    assert read == data
    with pytest.raises(FileNotFoundError):
        b"".join(volume.read_file("deep/data"))


def test_a_dict_puts_once_and_pops(notes: Any) -> None:
    won = [notes.put("lease", n, skip_if_exists=True) for n in range(2)]

    assert won == [True, False]
    assert (notes["lease"], notes.len(), "lease" in notes) == (0, 1, True)
    assert (notes.pop("lease"), notes.get("lease", "none")) == (0, "none")


def test_modal_run_shows_what_is_printed_and_stops(cloud: LoopbackModal) -> None:
    said = cloud.modal("run", "trouble.py::hello", "--name", "Ada", cwd=HERE)

    assert "hello, Ada" in said
    assert [app for app in cloud.containers() if app["function"] == "hello"] == []


def test_modal_run_gives_up_on_a_container_that_cannot_start(
    cloud: LoopbackModal, tmp_path: Path
) -> None:
    script = tmp_path / "broken.py"
    script.write_text(
        "import modal\nif not modal.is_local(): import not_there\n"
        'app = modal.App("broken")\n@app.function()\ndef f(): ...\n'
    )

    said = cloud.modal("run", f"{script}::f", check=False)

    assert "No module named 'not_there'" in said


@pytest.mark.parametrize("strategy", ["rolling", "recreate"])
def test_a_redeploy_hands_over(
    cloud: LoopbackModal, client: Any, tmp_path: Path, gate: Path, strategy: str
) -> None:
    first, second = f"first-{strategy}", f"second-{strategy}"
    script = tmp_path / "edition.py"
    script.write_text(EDITIONS.replace("EDITION", first))
    cloud.deploy(script, "--strategy", strategy)
    which = modal.Function.from_name("edition", "which", client=client)
    slow = which.spawn(str(gate))
    cloud.running(slow.object_id)
    script.write_text(EDITIONS.replace("EDITION", second))

    said = cloud.deploy(script, "--strategy", strategy)
    quick = which.spawn()

    if strategy == "rolling":
        assert quick.get(timeout=20) == second
        assert cloud.call(slow.object_id)["status"] == "RUNNING"
    gate.touch()
    assert quick.get(timeout=20) == second
    assert slow.get(timeout=20) == (first if strategy == "rolling" else second)
    assert ("Terminating running containers" in said) == (strategy == "recreate")


def test_a_stopped_app_is_gone(cloud: LoopbackModal, tmp_path: Path) -> None:
    script = tmp_path / "edition.py"
    script.write_text(EDITIONS.replace('"edition"', '"last"'))
    cloud.deploy(script)

    cloud.modal("app", "stop", "last", "--yes")

    assert not cloud.functions("last")


def test_a_secret_without_its_key_stops_the_deploy(cloud: LoopbackModal, tmp_path: Path) -> None:
    script = tmp_path / "needs.py"
    script.write_text(
        'import modal\napp = modal.App("needs")\n'
        's = modal.Secret.from_name("shop-keys", required_keys=["OTHER"])\n'
        "@app.function(secrets=[s])\ndef f(): ...\n"
    )

    said = cloud.modal("deploy", str(script), check=False)

    assert "OTHER" in said
    assert not cloud.functions("needs")


def test_nothing_is_left_when_the_cloud_goes(tmp_path: Path) -> None:
    with loopback_modal(tmp_path / "state") as cloud:
        script = tmp_path / "family.py"
        script.write_text(
            'import modal\napp = modal.App("family")\n@app.function(min_containers=1)\n'
            "def f(): ...\nif not modal.is_local():\n"
            '    import subprocess\n    subprocess.Popen(["sleep", "600"])\n'
        )
        cloud.deploy(script)
        cloud.wait(lambda: [c for c in cloud.containers() if c["ready"]])
        assert len(leftovers(cloud.state)) == 2

    assert leftovers(tmp_path / "state") == []
