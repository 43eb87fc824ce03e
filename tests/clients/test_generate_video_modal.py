"""`scripts/generate-video-modal.ts` against a live service: files, flags, refusals, Ctrl-C."""

import json
import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import sha256
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest

from service.cli.exits import Exit
from tests.cli.conftest import hear_ctrl_c
from tests.clients.faulty_proxy import Fault, faulty_proxy
from tests.clients.node import TSX, environment, needs_node
from tests.contract.write import ROOT
from tests.journey.service import KEY, Running, running

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600), needs_node]

SCRIPT = ROOT / "scripts" / "generate-video-modal.ts"
FACE = ROOT / "tests" / "workers" / "puppet" / "data" / "presenter.png"
TINY = "-w 64 -h 64 -f 4".split()
SECONDS = "-w 640 -h 360 -f 240".split()
LONG = "--width 1280 --height 720 --seconds 120 --fps 60".split()  # minutes: never waited for


@dataclass
class Command:
    """Runs the script in `folder`, as `npx tsx` does."""

    folder: Path
    url: str | None

    def command(self, *words: str) -> list[str]:
        # tsx is installed in the repository, and `folder` is elsewhere.
        return [
            TSX[0],
            "--import",
            str(ROOT / "node_modules/tsx/dist/loader.mjs"),
            str(SCRIPT),
            *words,
        ]

    def __call__(self, *words: str, **settings: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            self.command(*words),
            cwd=self.folder,
            env=environment(self.url, **settings),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    folder = tmp_path_factory.mktemp("script")
    with running(folder, "--workers", "1", models=["slate", "puppet"]) as found:
        yield found


@pytest.fixture
def generate(service: Running, tmp_path: Path) -> Command:
    return Command(tmp_path, str(service.client.base_url).rstrip("/"))


def test_a_prompt_becomes_a_file(generate: Command) -> None:
    made = generate("-p", "A cat", *TINY, "-o", "clip.mp4")

    assert made.returncode == 0, made.stderr
    assert made.stdout.startswith("saved clip.mp4  (64x64, 4 frames at 24 fps, 0.17 s")
    assert "the sandbox" in made.stdout
    assert "100 %  succeeded" in made.stderr
    assert [path.name for path in generate.folder.iterdir()] == ["clip.mp4"]


def test_a_queued_job_says_what_it_waits_for(tmp_path: Path) -> None:
    reason = "waits for its voice: ElevenLabs answers 429"
    job = {
        "status": "queued", "stage": None, "stage_detail": reason, "progress": 0,
        "queue_position": 2, "eta_seconds": 9,
    }  # fmt: skip
    (tmp_path / "show.mjs").write_text(
        f'import {{ meter }} from "{ROOT}/scripts/command/progress.ts";\n'
        f"const job = {json.dumps(job)};\nconst shown = meter();\n"
        "for (const stage_detail of [null, job.stage_detail]) shown.show({ ...job, stage_detail });"
    )
    (node, *_) = TSX
    loader = str(ROOT / "node_modules/tsx/dist/loader.mjs")

    ran = subprocess.run(
        [node, "--import", loader, str(tmp_path / "show.mjs")], capture_output=True, text=True
    )

    assert ran.stderr.splitlines() == [
        "  0 %  queued  (2 ahead, about 9 s left)",
        f"  0 %  queued, {reason}  (2 ahead)",
    ]


def test_every_flag_arrives_and_json_is_the_job_alone(generate: Command) -> None:
    flags = (
        "--model slate --fps 12 -s 9 -g 2.5 --negative fog --seed 7 --json --force "
        "--width 64 --height 64 --frames 4"
    )

    made = generate("--prompt", "A cat", *flags.split())

    job = json.loads(made.stdout)
    asked = {
        "model": "slate", "prompt": "A cat", "negative_prompt": "fog", "width": 64, "height": 64,
        "num_frames": 4, "fps": 12, "num_inference_steps": 9, "guidance_scale": 2.5, "seed": 7,
    }  # fmt: skip
    assert {name: job["input"][name] for name in asked} == asked
    file = generate.folder / f"{job['id']}.mp4"
    assert sha256(file.read_bytes()).hexdigest() == job["result"]["sha256"]


def test_media_are_files_or_jobs(generate: Command) -> None:
    shutil.copy(FACE, generate.folder / "first.png")
    first = json.loads(generate("-p", "A cat", *TINY, "--image", "first.png", "--json").stdout)
    over = json.loads(generate("-p", "A cat", "--video", first["id"], "--json").stdout)
    loop = json.loads(
        generate("-p", "A cat", *TINY, "--image", first["id"], "--loop", "--json").stdout
    )
    again = json.loads(
        generate("-p", "A cat", *TINY, "--video", f"{first['id']}.mp4", "--json").stdout
    )

    assert first["input"]["image"]["sha256"] == sha256(FACE.read_bytes()).hexdigest()
    assert loop["input"]["loop"] is True
    assert over["input"]["video"]["job_id"] == first["id"]
    assert again["input"]["video"]["sha256"] == first["result"]["sha256"]


def test_a_photo_speaks(generate: Command) -> None:
    made = generate(
        *("--avatar", "--image", str(FACE), "--text", "Hello from Rushes.", "--json"),
        *("--voice", "hibari-heart", "-w", "256", "-h", "256"),
    )

    assert made.returncode == 0, made.stderr
    job = json.loads(made.stdout)
    assert (job["kind"], job["input"]["width"], job["sandbox"]) == ("avatar", 256, False)
    assert job["result"]["has_audio"]


@pytest.mark.parametrize(
    ("words", "exit_code", "message"),
    [
        ("", Exit.INVALID, "--prompt is missing"),
        ("-p x --widht 64", Exit.INVALID, "Unknown option '--widht'"),
        ("-p x -w", Exit.INVALID, "'-w, --width <value>' argument missing"),
        ("-p x -w wide", Exit.INVALID, '--width: "wide" is not a number'),
        ("-p x -h 65", Exit.INVALID, "--height: 65 is not possible"),
        (
            "-p x -f 100000",
            Exit.INVALID,
            "--frames: 100000 is not possible: the frame count of slate",
        ),
        ("-p x -w 65", Exit.INVALID, "steps of 2; nearest: 64 and 66"),
        ("-p x -f 4 --seconds 2", Exit.INVALID, "--seconds"),
        ("-p x --model nope", Exit.NOT_FOUND, "no model 'nope' here"),
        ("-p x --image none.png", Exit.INVALID, '--image: "none.png" is no file, URL or job id'),
        ("-p x --text Hello.", Exit.INVALID, "--text needs --avatar"),
        ("--avatar --text Hello. --frames 4", Exit.INVALID, "--frames is for videos"),
        ("-p x -o none/clip.mp4", Exit.INVALID, "no such folder: none"),
        ("-p x --key wrong", Exit.UNAUTHORIZED, "the key comes from --key"),
        ("-p x --url ftp://x", Exit.INVALID, "must begin with http:// or https://"),
        ("-p x --video data:,x", Exit.INVALID, "--video: must be"),
        ("-p x --loop", Exit.INVALID, "--loop needs --image"),
        ("--avatar --image data:,x", Exit.INVALID, "give --text or --audio"),
        ("-p x --idempotency-key é", Exit.INVALID, "--idempotency-key: must be 1 to 255"),
        ("--job job_06h0d9vq1dp9l4uu8vk1jbtr78", Exit.NOT_FOUND, "no job"),
    ],
)
def test_what_is_wrong_is_said_with_the_exit_code_of_the_other_command_line(
    generate: Command, words: str, exit_code: Exit, message: str
) -> None:
    made = generate(*words.split())

    assert message in made.stderr
    assert not re.search(r"(\w+): (--)?\1: ", made.stderr)
    assert made.returncode == exit_code
    assert made.stdout == ""


def test_a_file_is_overwritten_by_force_alone(generate: Command) -> None:
    (generate.folder / "clip.mp4").write_text("mine")

    refused = generate("-p", "A cat", *TINY, "-o", "clip.mp4")
    kept = (generate.folder / "clip.mp4").read_text()
    forced = generate("-p", "A cat", *TINY, "-o", "clip.mp4", "--force")

    assert (refused.returncode, kept) == (Exit.INVALID, "mine")
    assert forced.returncode == 0
    assert (generate.folder / "clip.mp4").read_bytes()[4:8] == b"ftyp"


def test_a_job_that_fails_has_no_video(generate: Command) -> None:
    (generate.folder / "broken.png").write_bytes(FACE.read_bytes()[:20_000])

    made = generate("-p", "A cat", *TINY, "--image", "broken.png")

    assert "(image_unreadable)" in made.stderr
    assert made.returncode == Exit.NO_VIDEO
    assert "--job" not in made.stderr


def start(generate: Command, *words: str) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        generate.command(*words),
        cwd=generate.folder,
        env=environment(generate.url),
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=hear_ctrl_c,
    )


def pasted(told: str, start: str) -> list[str]:
    """The words of the command that a line of the output recommends."""
    line = next(line for line in told.splitlines() if line.startswith(start))
    words = shlex.split(line.removeprefix(start))
    assert words[:3] == ["npx", "tsx", "scripts/generate-video-modal.ts"]
    return words[3:]


def test_a_submit_without_an_answer_says_how_it_is_repeated(
    generate: Command, service: Running
) -> None:
    before = service.client.get("/v1/jobs", params={"limit": 100}).json()["data"]
    with faulty_proxy(generate.url or "", Fault("^POST", "lost", times=5)) as proxy:
        lost = generate("-p", "A cat's boat", *TINY, "-o", "boat.mp4", "--url", proxy.url)
        words = pasted(lost.stderr, "this creates no second job: ")
        again = generate(*words)
        keys = {seen.headers["idempotency-key"] for seen in proxy.requests("^POST")}

    jobs = service.client.get("/v1/jobs", params={"limit": 100}).json()["data"]
    assert lost.returncode == Exit.UNREACHABLE
    assert again.stdout.startswith("saved boat.mp4"), again.stderr
    assert len(keys) == 1
    assert len(jobs) == len(before) + 1


def test_ctrl_c_before_the_answer_shows_the_command_without_the_api_key(
    generate: Command,
) -> None:
    with faulty_proxy(generate.url or "", Fault("^POST", "lost", times=5)) as proxy:
        words = ["-p", "A cat", "--url", proxy.url, "--key=secret", "--idempotency-key", "cat-1"]
        with start(generate, *words) as program:
            assert program.stderr is not None
            first = program.stderr.readline()
            program.send_signal(signal.SIGINT)
            rest = program.stderr.read()

    assert "trying again in" in first
    assert program.returncode == Exit.INTERRUPTED
    assert "interrupted before the service answered" in rest
    shown = [word.replace("secret", "KEY") for word in words]
    assert pasted(rest, "this creates no second job: ") == shown


def test_ctrl_c_shows_how_to_go_on_with_the_same_file(generate: Command, service: Running) -> None:
    (generate.folder / "my clips").mkdir()
    kept = generate.folder / "my clips" / "cat.mp4"
    kept.write_text("old")
    words = ["--url", generate.url or "", "-o", "my clips/cat.mp4", "--force", "--json"]
    with start(generate, "-p", "A cat", *SECONDS, *words) as program:
        assert program.stderr is not None
        job_id = next(line.split()[1] for line in program.stderr if line.startswith("job "))
        program.send_signal(signal.SIGINT)
        rest = program.stderr.read()

    made = generate(*pasted(rest, "continue with: "))

    assert json.loads(made.stdout)["id"] == job_id, made.stderr
    assert kept.read_bytes()[4:8] == b"ftyp"
    assert service.job(job_id)["status"] == "succeeded"


def test_a_job_goes_on_after_ctrl_c(generate: Command, service: Running) -> None:
    with start(generate, "-p", "A cat", *LONG) as program:
        assert program.stderr is not None
        job_id = next(line.split()[1] for line in program.stderr if line.startswith("job "))
        program.send_signal(signal.SIGINT)
        rest = program.stderr.read()

    assert program.returncode == Exit.INTERRUPTED
    assert f"job {job_id} goes on" in rest
    assert pasted(rest, "continue with: ") == ["--job", job_id]
    assert service.job(job_id)["status"] in ("queued", "starting", "running")
    canceled = service.client.post(f"/v1/jobs/{job_id}/cancel")
    assert canceled.is_success


def test_an_earlier_job_is_waited_for_and_saved(generate: Command, service: Running) -> None:
    job_id = service.submit()["id"]

    made = generate("--job", job_id, "-o", "clip.mp4")

    assert made.stdout.startswith("saved clip.mp4")


def test_the_health_of_the_service_is_shown(generate: Command) -> None:
    shown = generate("--health", "--url", f"{generate.url}/v1/")
    assert shown.returncode == 0
    assert shown.stdout.startswith("healthy: Rushes 0.")
    assert json.loads(generate("--health", "--json").stdout)["status"] == "healthy"


def test_settings_are_those_of_the_service(service: Running, tmp_path: Path) -> None:
    """As in the folder in which `make up` has run."""
    generate = Command(tmp_path, None)
    (tmp_path / ".env").write_text(f"RUSHES_PORT={service.client.base_url.port}\n")
    (tmp_path / ".rushes").mkdir()
    (tmp_path / ".rushes" / "api-key").write_text(f"{KEY}\n")

    made = generate("-p", "A cat", *TINY, "--json")

    assert made.returncode == 0, made.stderr


def test_the_port_is_the_one_that_the_running_service_keeps(
    service: Running, tmp_path: Path
) -> None:
    """As after `RUSHES_PORT=8791 make up` in another terminal."""
    (tmp_path / ".rushes").mkdir()
    (tmp_path / ".rushes" / "api-key").write_text(f"{KEY}\n")
    (tmp_path / ".rushes" / "address").write_text(str(service.client.base_url).rstrip("/"))

    made = Command(tmp_path, None)("-p", "A cat", *TINY, "--json")

    assert made.returncode == 0, made.stderr


def test_the_kept_key_goes_to_no_other_machine(tmp_path: Path) -> None:
    (tmp_path / ".rushes").mkdir()
    (tmp_path / ".rushes" / "api-key").write_text(f"{KEY}\n")
    program = """
import { connectionOf } from "FLAGS";
const here = ["http://127.0.0.1:1", "http://[::1]:1"];
for (const url of [...here, "http://127.0.0.1.evil.test", "https://gpu.test"]) {
  console.log(connectionOf({ url } as never).apiKey ?? "none");
}
"""
    flags = (SCRIPT.parent / "command" / "flags.ts").as_uri()
    (tmp_path / "keys.ts").write_text(program.replace("FLAGS", flags))
    command = Command(tmp_path, None)
    node, *options = command.command()[:-1]

    told = subprocess.run(
        [node, *options, "keys.ts"], cwd=tmp_path, env=environment(None),
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip

    assert told.stdout.split() == [KEY, KEY, "none", "none"], told.stderr


def test_what_is_no_file_is_not_replaced(generate: Command) -> None:
    os.mkfifo(generate.folder / "pipe")

    refused = generate("-p", "A cat", "-o", "pipe", "--force")

    assert refused.returncode == Exit.INVALID
    assert "pipe is no file" in refused.stderr
    assert (generate.folder / "pipe").is_fifo()


def test_nobody_at_the_address_is_said(tmp_path: Path) -> None:
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))  # and does not listen
        address = "{}:{}".format(*nobody.getsockname())
        made = Command(tmp_path, f"http://{address}")("-p", "A cat")

    assert made.returncode == Exit.UNREACHABLE
    assert f"no answer: connect ECONNREFUSED {address}" in made.stderr
    assert "start a service with `make up`" in made.stderr
    assert "no second job" not in made.stderr  # nobody can have heard it


def test_another_program_at_the_address_is_said(tmp_path: Path) -> None:
    with ThreadingHTTPServer(("127.0.0.1", 0), WebSite) as site:
        Thread(target=site.serve_forever, daemon=True).start()
        answered = Command(tmp_path, f"http://127.0.0.1:{site.server_port}")("--health")
        site.shutdown()

    assert answered.returncode == Exit.UNREACHABLE
    assert "the answer is not JSON: " in answered.stderr
    assert "is that a Rushes service? --url or RUSHES_URL names another" in answered.stderr
    assert "make up" not in answered.stderr


class WebSite(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.end_headers()
        self.wfile.write(b"<html>welcome</html>")


@pytest.mark.parametrize("flag", ["--prompt=A cat", "--idempotency-key=film", "--avatar"])
def test_a_flag_for_a_new_job_is_not_dropped(generate: Command, flag: str) -> None:
    refused = generate("--job", "job_0", flag)

    assert refused.returncode == Exit.INVALID
    assert f"{flag.partition('=')[0]} is for a new job, not for --job" in refused.stderr


def test_help_lists_every_flag(generate: Command) -> None:
    shown = generate("--help").stdout
    source = (ROOT / "scripts" / "command" / "flags.ts").read_text()
    table = source.partition("const OPTIONS = {")[2].partition("} as const")[0]
    flags = [line.split(":")[0].strip(' "') for line in table.splitlines() if ":" in line]

    assert len(flags) > 20
    assert [flag for flag in flags if f"--{flag} " not in shown] == []
    for code in Exit:
        assert f"{code.value:>3}  " in shown


def test_it_runs_by_npx_in_the_repository(service: Running, tmp_path: Path) -> None:
    done = subprocess.run(
        ["npx", "tsx", "scripts/generate-video-modal.ts", "-p", "A cat", *TINY, "-o", tmp_path],
        cwd=ROOT,
        env=environment(str(service.client.base_url)) | {"PATH": os.environ["PATH"]},
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 0, done.stderr
    assert [path.suffix for path in tmp_path.iterdir()] == [".mp4"]
