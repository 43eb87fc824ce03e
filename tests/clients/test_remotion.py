"""Real Remotion renders of clips from a live service, in Chromium."""

import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import imageio_ffmpeg
import numpy as np
import pytest

from tests.clients.faulty_proxy import faulty_proxy
from tests.clients.node import CHROMIUM, TSX, environment, needs_chromium, needs_node, run
from tests.contract.write import ROOT
from tests.journey.service import Running, running

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(1800),
    needs_node,
    needs_chromium,
    pytest.mark.usefixtures("built"),
]

FACE = ROOT / "tests" / "workers" / "puppet" / "data" / "presenter.png"
FFMPEG = imageio_ffmpeg.get_ffmpeg_exe()
FPS = 24
WIDTH, HEIGHT = 96, 64  # at which frames are compared
# Above the captions: a frame and its copy, through two encoders and a scaling, differ by less.
CLOSE = 8.0
Frames = Any  # uint8, (frames, height, width, 3)


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    folder = tmp_path_factory.mktemp("remotion")
    settings = {"models": ["slate", "puppet"], "webhooks_allow_loopback": "1"}
    with running(folder, "--workers", "1", **settings) as found:
        yield found


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The example as a project of its own."""
    folder = tmp_path_factory.mktemp("project") / "films"
    shutil.copytree(
        ROOT / "examples" / "remotion",
        folder,
        ignore=shutil.ignore_patterns("public", "node_modules"),
    )
    (folder / "node_modules").symlink_to(ROOT / "node_modules")
    return folder


def settings(service: Running, **more: str) -> dict[str, str]:
    url = str(service.client.base_url).rstrip("/")
    return environment(url, FACE=str(FACE), CHROMIUM=CHROMIUM or "", **more)


def jobs(service: Running, film: str) -> list[dict[str, Any]]:
    """The jobs of a film, in the order of their submits."""
    query = {"metadata[film]": film, "order": "asc"}
    found: list[dict[str, Any]] = service.client.get("/v1/jobs", params=query).json()["data"]
    return found


def render(service: Running, project: Path, film: str, folder: Path) -> None:
    done = subprocess.run(
        [*TSX, "render.ts", film, str(folder)],
        cwd=project,
        env=settings(service),
        capture_output=True,
        text=True,
        timeout=900,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def frames_of(video: Path) -> Frames:
    scale = f"scale={WIDTH}:{HEIGHT}:force_original_aspect_ratio=increase,crop={WIDTH}:{HEIGHT}"
    command = [FFMPEG, "-v", "error", "-i", str(video), "-vf", scale, "-fps_mode", "passthrough"]
    command += ["-pix_fmt", "rgb24", "-f", "rawvideo", "-"]
    pixels = subprocess.run(command, capture_output=True, check=True).stdout
    return np.frombuffer(pixels, np.uint8).reshape(-1, HEIGHT, WIDTH, 3)


def difference(one: Frames, other: Frames, rows: slice) -> float:
    return float(np.abs(one[rows].astype(float) - other[rows].astype(float)).mean())


TOP, BOTTOM = slice(0, HEIGHT * 2 // 3), slice(HEIGHT * 3 // 4, HEIGHT)


def test_a_brief_becomes_a_film_and_is_paid_for_once(
    service: Running, project: Path, tmp_path: Path
) -> None:
    render(service, project, "calm", tmp_path)

    made = jobs(service, "calm")
    assert sorted(job["kind"] for job in made) == ["avatar", "video", "video"]
    by_kind = sorted(made, key=lambda job: (job["kind"], job["result"]["duration_seconds"]))
    avatar, short, long = by_kind
    film = frames_of(tmp_path / "calm.mp4")
    clips = [frames_of(_file(project, job)) for job in (long, avatar, short)]
    lengths = [round(job["result"]["duration_seconds"] * FPS) for job in (long, avatar, short)]
    assert len(film) == sum(lengths)
    assert (lengths[0], lengths[2]) == (48, 36)

    starts = [0, lengths[0], lengths[0] + lengths[1]]
    for clip, job, start, length in zip(clips, (long, avatar, short), starts, lengths, strict=True):
        others = [other[0] for other in clips if other is not clip]
        for at in (2, length // 2, length - 3):
            shown, wanted = film[start + at], clip[round(at / FPS * job["result"]["fps"])]
            assert difference(shown, wanted, TOP) < CLOSE
            nearest = min(difference(shown, other, TOP) for other in others)
            assert nearest > 2 * difference(shown, wanted, TOP)

    # While words are spoken they are written over the avatar, and over nothing else.
    middle = lengths[1] // 2
    spoken = film[starts[1] + middle]
    unwritten = clips[1][round(middle / FPS * avatar["result"]["fps"])]
    assert difference(spoken, unwritten, BOTTOM) > 2 * difference(spoken, unwritten, TOP)
    assert difference(film[10], clips[0][10], BOTTOM) < CLOSE / 2

    # Again from the files that are there, and once more from the service alone.
    (tmp_path / "calm.mp4").rename(tmp_path / "first.mp4")
    shutil.rmtree(project / "public")
    render(service, project, "calm", tmp_path)
    assert len(jobs(service, "calm")) == 3
    assert difference(frames_of(tmp_path / "calm.mp4"), film, slice(None)) < 1


def _file(project: Path, job: dict[str, Any]) -> Path:
    return project / "public" / "generated" / f"{job['result']['sha256']}.mp4"


def start_server(service: Running, project: Path, folder: Path, port: int) -> Any:
    return subprocess.Popen(
        [*TSX, "server.ts", str(folder)],
        cwd=project,
        env=settings(service, PORT=str(port)),
        stdout=subprocess.PIPE,
        text=True,
    )


def line_of(server: "subprocess.Popen[str]", start: str) -> str:
    assert server.stdout is not None
    return next(line for line in server.stdout if line.startswith(start))


def test_a_receiver_that_is_killed_between_webhook_and_render_makes_one_film(
    service: Running, project: Path, tmp_path: Path
) -> None:
    with start_server(service, project, tmp_path, 0) as server:
        port = int(line_of(server, "listening on ").split()[-1])
        hooks = f"http://127.0.0.1:{port}/"
        submit = [*TSX, "submit.ts", "storm"]
        environment_ = settings(service, WEBHOOK_URL=hooks)
        subprocess.run(submit, cwd=project, env=environment_, check=True, timeout=300)
        line_of(server, "due storm")
        server.send_signal(signal.SIGKILL)
    assert not (tmp_path / "storm.mp4").exists()
    assert (tmp_path / "due" / "storm").exists()

    with start_server(service, project, tmp_path, port) as server:
        line_of(server, "rendered ")
        rendered = (tmp_path / "storm.mp4").stat()
        _wait_until_gone(tmp_path / "due" / "storm")
        _wait_for_deliveries(service, "storm")
        server.send_signal(signal.SIGTERM)
        printed = server.stdout.read()

    # The webhooks that came later, or again, changed nothing.
    assert "rendered" not in printed
    assert (tmp_path / "storm.mp4").stat().st_mtime_ns == rendered.st_mtime_ns
    made = jobs(service, "storm")
    assert len(made) == 3
    seconds = sum(round(job["result"]["duration_seconds"] * FPS) for job in made)
    assert len(frames_of(tmp_path / "storm.mp4")) == seconds


def _wait_until_gone(path: Path) -> None:
    deadline = time.monotonic() + 600
    while path.exists():
        assert time.monotonic() < deadline
        time.sleep(0.1)


def _wait_for_deliveries(service: Running, film: str) -> None:
    """Wait until every webhook of the film has arrived."""
    deadline = time.monotonic() + 600
    for job in jobs(service, film):
        query = {"job_id": job["id"]}
        while True:
            (found,) = service.client.get("/v1/webhook-deliveries", params=query).json()["data"]
            if found["status"] == "delivered":
                break
            assert time.monotonic() < deadline, found
            time.sleep(0.1)


def test_generating_in_a_composition_cannot_be_bundled(project: Path) -> None:
    source = project / "src" / "index.tsx"
    wrong = project / "src" / "wrong.tsx"
    wrong.write_text(f'import "rushes-remotion/node";\n{source.read_text()}')
    program = f"""
        import {{ bundle }} from "@remotion/bundler";
        await bundle({{ entryPoint: {str(wrong)!r} }});
    """
    done = run(*TSX, "--input-type=module", "-e", program, folder=project, exit_code=1)

    assert "rushes-remotion" in done.stderr


def test_a_film_without_clips_is_one_frame_as_the_studio_needs_it(project: Path) -> None:
    program = """
        import { bundle } from "@remotion/bundler";
        import { getCompositions } from "@remotion/renderer";
        const serveUrl = await bundle({ entryPoint: "src/index.tsx" });
        const browserExecutable = process.env.CHROMIUM;
        const options = { browserExecutable, chromeMode: "chrome-for-testing" };
        const [film] = await getCompositions(serveUrl, options);
        console.log(film.id, film.durationInFrames);
    """
    command = (*TSX, "--input-type=module", "-e", program)

    shown = run(*command, folder=project, CHROMIUM=CHROMIUM or "")

    assert shown.stdout.splitlines()[-1] == "Film 1"


def test_a_loop_is_repeated_without_its_first_frame_twice(service: Running, tmp_path: Path) -> None:
    repeat = ROOT / "clients" / "remotion" / "test" / "programs" / "repeat.ts"
    url = str(service.client.base_url).rstrip("/")
    done = run(*TSX, repeat, FACE, "17", tmp_path, url=url, CHROMIUM=CHROMIUM or "")

    clip, film = bars(tmp_path / "public" / done.stdout.strip()), bars(tmp_path / "film.mp4")
    assert (len(clip), len(film)) == (17, 34)
    distinct = clip[:16]  # the last one is the first again
    shown = [
        int(np.argmin([difference(bar, frame, slice(None)) for frame in distinct])) for bar in film
    ]
    assert shown == [index % 16 for index in range(34)]


def bars(video: Path) -> Frames:
    """The lower edge of each frame, where a slate shows how far it is."""
    command = [FFMPEG, "-v", "error", "-i", str(video), "-vf", "crop=640:2:0:358"]
    command += ["-fps_mode", "passthrough", "-pix_fmt", "rgb24", "-f", "rawvideo", "-"]
    pixels = subprocess.run(command, capture_output=True, check=True).stdout
    return np.frombuffer(pixels, np.uint8).reshape(-1, 2, 640, 3)


def test_a_seek_to_the_end_fetches_less_than_half_of_a_file(
    service: Running, tmp_path: Path
) -> None:
    # Noise, since a video that compresses well is smaller than what a browser reads ahead.
    noise, draw = tmp_path / "noise.mp4", "nullsrc=s=960x540:d=20:r=24,noise=alls=100:allf=t+u"
    command = [FFMPEG, "-v", "error", "-f", "lavfi", "-i", draw, "-c:v", "libx264", "-crf", "33"]
    subprocess.run([*command, "-preset", "ultrafast", "-pix_fmt", "yuv420p", noise], check=True)
    fields = {"prompt": "noise", "width": 960, "height": 540, "duration_seconds": 20}
    with noise.open("rb") as video:
        answer = service.client.post(
            "/generate-video", data={**fields, "strength": 0.05}, files={"video": video}
        )
    result = service.wait(answer.json()["id"], seconds=900)["result"]
    url = str(service.client.base_url).rstrip("/")

    with faulty_proxy(url) as proxy:
        link = result["video_url"].replace(url, proxy.url)
        seek = ROOT / "clients" / "remotion" / "test" / "programs" / "seek.ts"
        still = tmp_path / "still.png"
        run(*TSX, seek, link, str(result["duration_seconds"]), still, CHROMIUM=CHROMIUM or "")

    sent = sum(seen.sent for seen in proxy.requests("GET /v1/jobs/.*/content"))
    print(f"{sent:,} of {result['bytes']:,} bytes sent")  # noqa: T201 - pytest -rP shows it
    assert 0 < sent < result["bytes"] / 2
    last = tmp_path / "last.png"
    last.write_bytes(service.client.get(result["last_frame_url"]).content)
    assert difference(frames_of(still)[0], frames_of(last)[0], slice(None)) < CLOSE
