"""`resolveClips`: a brief becomes files, and nothing that is there already is made again."""

import json
import signal
import subprocess
from base64 import b64encode
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from tests.clients.faulty_proxy import Fault, faulty_proxy
from tests.clients.node import TSX, environment, needs_node, run
from tests.contract.write import ROOT
from tests.journey.service import Running, running

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(900),
    needs_node,
    pytest.mark.usefixtures("built"),
]

RESOLVE = (*TSX, ROOT / "clients" / "remotion" / "test" / "programs" / "resolve.ts")
FACE = ROOT / "tests" / "workers" / "puppet" / "data" / "presenter.png"


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    folder = tmp_path_factory.mktemp("clips")
    with running(folder, "--workers", "1", models=["slate", "puppet"]) as found:
        yield found


def url_of(service: Running) -> str:
    return str(service.client.base_url).rstrip("/")


def video(prompt: str, **more: Any) -> dict[str, Any]:
    return {"video": {"prompt": prompt, "width": 64, "height": 64, "num_frames": 4, **more}}


def resolve(url: str, folder: Path, *brief: Any) -> list[dict[str, Any]]:
    done = run(*RESOLVE, folder / "public", json.dumps(brief), url=url)
    clips: list[dict[str, Any]] = json.loads(done.stdout.splitlines()[-1])
    return clips


def jobs(service: Running, prompt: str) -> list[dict[str, Any]]:
    found = service.client.get("/v1/jobs?limit=100").json()["data"]
    return [job for job in found if job["input"]["prompt"] == prompt]


def file_of(folder: Path, clip: dict[str, Any]) -> Path:
    return folder / "public" / str(clip["src"])


def test_a_brief_becomes_files_named_by_their_content(service: Running, tmp_path: Path) -> None:
    clips = resolve(url_of(service), tmp_path, "one", video("two", fps=12), video("one more"))

    assert [clip["fps"] for clip in clips] == [24, 12, 24]
    for prompt, clip in zip(("one", "two", "one more"), clips, strict=True):
        (job,) = jobs(service, prompt)
        assert clip["jobId"] == job["id"]
        digest = sha256(file_of(tmp_path, clip).read_bytes()).hexdigest()
        assert digest == job["result"]["sha256"] == file_of(tmp_path, clip).stem
    kept = {path.suffix for path in (tmp_path / "public" / "generated").iterdir()}
    assert kept == {".mp4", ".json"}


def test_what_is_there_asks_nothing_of_the_service(service: Running, tmp_path: Path) -> None:
    named = {"model": "slate"}
    with faulty_proxy(url_of(service)) as proxy:
        first = resolve(proxy.url, tmp_path, video("kept", **named), video("kept", **named))
        asked = len(proxy.seen)
        again = resolve(proxy.url, tmp_path, video("kept", **named, metadata={"urgent": "yes"}))

    # It is the same service at another address.
    (elsewhere,) = resolve(url_of(service), tmp_path / "other", video("kept", **named))
    assert first[0] == first[1] == again[0] == elsewhere
    assert len(proxy.seen) == asked
    assert len(jobs(service, "kept")) == 1


def test_placeholders_are_warned_of_and_made_again_by_a_real_model(tmp_path: Path) -> None:
    brief = "a boat", video("by name", model="slate")
    with running(tmp_path / "service", "--workers", "1") as service:
        warned = run(*RESOLVE, tmp_path / "public", json.dumps(brief), url=url_of(service))
        clips = json.loads(warned.stdout.splitlines()[-1])
        assert clips == resolve(url_of(service), tmp_path, *brief)
    assert [clip["sandbox"] for clip in clips] == [True, True]
    assert "2 of 2 clips are placeholders of the sandbox" in warned.stderr

    # Nobody makes the video: it is only seen that it was submitted.
    models = ["ltx-2b", "slate"]
    with running(tmp_path / "service", "--workers", "0", models=models) as service:
        for folder in (tmp_path / "public", tmp_path / "other"):
            command = (*RESOLVE, folder, json.dumps(brief), "500")
            waited = run(*command, url=url_of(service), exit_code=1)
            assert 'ClipError: clip 0 ("a boat"): job job_' in waited.stderr
        real, placeholder = jobs(service, "a boat")
        assert [real["model"], placeholder["model"]] == ["ltx-2b", "slate"]
        assert len(jobs(service, "by name")) == 1


def test_a_clip_that_is_refused_is_told_at_once_with_its_place_and_prompt(
    service: Running, tmp_path: Path
) -> None:
    long = {"width": 1280, "height": 720, "num_frames": 1200, "fps": 10}
    brief = [video("slow", **long), video("a typo", num_frame=4), video("after it", num_frames=2)]
    refused = run(
        *RESOLVE, tmp_path / "public", json.dumps(brief), url=url_of(service), exit_code=1
    )

    assert 'ClipError: clip 1 ("a typo"): /num_frame: ' in refused.stderr
    assert "[cause]: ResponseError" in refused.stderr
    (slow,) = jobs(service, "slow")
    assert slow["status"] in ("queued", "starting", "running")
    service.client.post(f"/v1/jobs/{slow['id']}/cancel")
    assert len(jobs(service, "after it")) == 1


def test_captions_are_fetched_through_faults(service: Running, tmp_path: Path) -> None:
    avatar = {"text": "Rain is coming.", "reference_image": str(FACE), "width": 256, "height": 256}
    faults = Fault("variant=captions", "503"), Fault("variant=captions", "refused")
    with faulty_proxy(url_of(service), *faults) as proxy:
        (clip,) = resolve(proxy.url, tmp_path, {"avatar": avatar})

    assert "".join(caption["text"] for caption in clip["captions"]) == "Rain is coming."
    assert [seen.fault for seen in proxy.requests("variant=captions")] == ["503", "refused", None]
    kept = {path.suffix for path in (tmp_path / "public" / "generated").iterdir()}
    assert kept == {".mp4", ".json"}


def test_files_that_are_lost_or_broken_are_fetched_again_and_not_made_again(
    service: Running, tmp_path: Path
) -> None:
    (clip,) = resolve(url_of(service), tmp_path, video("lost"))
    whole = file_of(tmp_path, clip).read_bytes()

    file_of(tmp_path, clip).write_bytes(whole[:-1])
    assert resolve(url_of(service), tmp_path, video("lost")) == [clip]
    assert file_of(tmp_path, clip).read_bytes() == whole

    (record,) = (tmp_path / "public" / "generated").glob("*.json")
    for broken in ("", record.read_text()[:-9], "null", "{}"):
        record.write_text(broken)
        assert resolve(url_of(service), tmp_path, video("lost")) == [clip]
        assert json.loads(record.read_text()) == clip

    # In another folder, as on another machine.
    assert resolve(url_of(service), tmp_path / "other", video("lost")) == [clip]
    assert len(jobs(service, "lost")) == 1


def test_equal_images_are_equal_wherever_they_lie(service: Running, tmp_path: Path) -> None:
    (tmp_path / "face.png").write_bytes(FACE.read_bytes())

    (one,) = resolve(url_of(service), tmp_path, video("image", image=str(FACE)))
    (other,) = resolve(url_of(service), tmp_path, video("image", image=f"{tmp_path}/face.png"))
    (none,) = resolve(url_of(service), tmp_path, video("image"))
    data_uri = f"data:image/png;base64,{b64encode(FACE.read_bytes()).decode()}"
    (data,) = resolve(url_of(service), tmp_path, video("image", image=data_uri))

    assert one["jobId"] == other["jobId"] == data["jobId"] != none["jobId"]


def test_what_failed_or_was_deleted_is_made_again(service: Running, tmp_path: Path) -> None:
    (tmp_path / "broken.png").write_bytes(FACE.read_bytes()[:20_000])
    broken = video("broken", image=f"{tmp_path}/broken.png")
    for count in (1, 2):
        failed = run(
            *(*RESOLVE, tmp_path / "public", json.dumps([broken])),
            url=url_of(service),
            exit_code=1,
        )
        assert "JobFailedError" in failed.stderr
        assert len(jobs(service, "broken")) == count

    # One of those is deleted: as many are left as there were when the other was submitted.
    service.client.delete(f"/v1/jobs/{jobs(service, 'broken')[-1]['id']}")
    run(*RESOLVE, tmp_path / "public", json.dumps([broken]), url=url_of(service), exit_code=1)
    assert len(jobs(service, "broken")) == 2

    (clip,) = resolve(url_of(service), tmp_path, video("deleted"))
    service.client.delete(f"/v1/jobs/{clip['jobId']}")
    file_of(tmp_path, clip).unlink()
    (again,) = resolve(url_of(service), tmp_path, video("deleted"))
    assert again["jobId"] != clip["jobId"]


def test_two_at_once_and_one_that_was_killed_make_one_job_each(
    service: Running, tmp_path: Path
) -> None:
    brief = [video(f"at once {n}", width=640, height=360, num_frames=60) for n in range(3)]
    command = [str(word) for word in (*RESOLVE, tmp_path / "public", json.dumps(brief))]
    programs = [
        subprocess.Popen(
            command,
            cwd=ROOT,
            env=environment(url_of(service)),
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(3)
    ]
    assert programs[0].stdout is not None
    assert programs[0].stdout.readline() == "resolving\n"
    programs[0].send_signal(signal.SIGKILL)
    printed = [program.communicate()[0] for program in programs]

    assert [program.returncode for program in programs] == [-signal.SIGKILL, 0, 0]
    one, other = (json.loads(text.splitlines()[-1]) for text in printed[1:])
    assert one == other == resolve(url_of(service), tmp_path, *brief)
    for n in range(3):
        assert len(jobs(service, f"at once {n}")) == 1


def test_an_answer_that_is_lost_makes_no_second_job(service: Running, tmp_path: Path) -> None:
    with faulty_proxy(url_of(service), Fault("POST /generate-video", "lost", times=100)) as proxy:
        run(*RESOLVE, tmp_path / "public", json.dumps([video("lost answer")]), url=proxy.url,
            exit_code=1)  # fmt: skip
        proxy.faults.clear()
        resolve(proxy.url, tmp_path, video("lost answer"))

    assert len(jobs(service, "lost answer")) == 1
