"""Workers with a fault in them: each is deployed from a copy of the source that has it."""

import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
import sqlalchemy as sa

from dev.loopback_modal.harness import LoopbackModal
from service.domain.retry import MAX_LAPSED
from tests.conftest import new_database
from tests.modal.conftest import MARKS
from tests.modal.live import CHECKOUT, SCRIPT, Json, Live, deployed, secrets

pytestmark = MARKS

SLATE = "service/workers/adapters/slate.py"

DOMAIN = "clips.example.com"  # it leads nowhere
LAST_WORD = "about to be killed"

# What goes wrong: the file, a line of it, and what stands in its place.
DIES_IN_LOAD = [
    (
        SCRIPT,
        "        from service.wiring import storage, worker",
        f'        import os, sys; print("{LAST_WORD}", file=sys.stderr, flush=True); os._exit(137)',
    )
]
LACKS_A_FILE = [
    (
        SCRIPT,
        "gpu_image = _with_source(_packages, _settings | _offline | _compiling)",
        "gpu_image = _packages.env(_settings | _compiling).add_local_python_source(\n"
        '        "service", ignore=["**/dispatch/on_modal.py"]\n'
        "    )",
    ),
]
RAISES = [
    (SLATE, "    draw = _painter(request, conditions)", "    raise FAULTS[request.prompt]"),
    (
        SLATE,
        "class Slate:",
        "class Leak(BaseException): ...\n\n"
        'FAULTS = {"told": TimeoutError("the hub is slow"), "leaked": Leak()}\n\n'
        "class Slate:",
    ),
    (SCRIPT, "return self.worker.run(ticket, call_id)", "return leaking(self, ticket, call_id)"),
    (
        SCRIPT,
        "class Worker:",
        "def leaking(worker, ticket, call_id):\n"
        "    try:\n"
        "        return worker.worker.run(ticket, call_id)\n"
        "    except BaseException:\n"
        '        raise TimeoutError("as if it still ran") from None\n\n'
        "class Worker:",
    ),
]
Fault = list[tuple[str, str, str]]
Deploy = Callable[[str, Fault, int], Live]


def source_with(folder: Path, fault: Fault) -> Path:
    for name in ("service", "migrations"):
        shutil.copytree(CHECKOUT / name, folder / name, ignore=shutil.ignore_patterns("*.pyc"))
    for name in ("pyproject.toml", "constraints.txt"):
        shutil.copy(CHECKOUT / name, folder)
    (folder / "scripts").mkdir()
    shutil.copy(CHECKOUT / SCRIPT, folder / SCRIPT)
    for name, line, instead in fault:
        text = (folder / name).read_text()
        assert text.count(line) == 1, f"{name} has no such line any more: {line}"
        (folder / name).write_text(text.replace(line, instead))
    return folder


@pytest.fixture(scope="module")
def deploy(
    cloud: LoopbackModal, postgres: sa.URL, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Deploy]:
    """Deploys the source with a fault, under a name of its own and with few seconds for a start."""
    with ExitStack() as stack:

        def deploy(app: str, fault: Fault, start_seconds: int) -> Live:
            source = source_with(tmp_path_factory.mktemp(app), fault)
            told = secrets(new_database(postgres), RUSHES_RUNNING_LEASE_SECONDS="1")
            settings = {"models": ["slate"], "modal_start_seconds": start_seconds}
            settings |= {"modal_domain": DOMAIN}
            given = deployed(cloud, app, told, settings, source)
            return stack.enter_context(given)

        yield deploy


@pytest.fixture(scope="module")
def crashing(deploy: Deploy) -> dict[str, tuple[Live, Json]]:
    """Services whose containers never begin, each with a job, so that they fail side by side."""
    faults = {"dying": DIES_IN_LOAD, "lacking": LACKS_A_FILE}
    live = {app: deploy(app, fault, 4) for app, fault in faults.items()}
    return {app: (service, service.submit()) for app, service in live.items()}


@pytest.fixture(scope="module")
def raising(deploy: Deploy) -> Live:
    return deploy("raising", RAISES, 60)


@pytest.mark.parametrize(
    ("app", "last_word"),
    [("dying", LAST_WORD), ("lacking", "No module named 'service.dispatch.on_modal'")],
)
def test_a_container_that_dies_before_it_begins_is_not_started_for_ever(
    crashing: dict[str, tuple[Live, Json]], app: str, last_word: str
) -> None:
    """It is killed while it loads, or a file is missing in its image: the job ends all the same."""
    live, job = crashing[app]

    done = live.done(job["id"])

    assert (done["status"], done["error"]["code"]) == ("failed", "never_begun"), done
    calls = live.calls(job["id"])
    assert len(calls) == MAX_LAPSED
    assert {live.cloud.finished(call["id"])["status"] for call in calls} == {"TERMINATED"}
    live.cloud.wait(lambda: not live.containers())
    assert any(last_word in log.read_text() for log in live.cloud.state.glob("tasks/*/log.txt"))


def test_a_timeout_error_in_a_worker_fails_the_job_and_does_not_look_like_work(
    raising: Live,
) -> None:
    job = raising.submit(prompt="told")

    done = raising.done(job["id"])

    assert (done["status"], done["error"]["kind"]) == ("failed", "internal"), done
    (call,) = raising.calls(job["id"])
    assert raising.cloud.finished(call["id"])["status"] == "SUCCESS"


def test_workers_report_without_the_domain_that_clients_are_shown(raising: Live) -> None:
    job = raising.submit(prompt="told")

    assert job["urls"]["self"].startswith(f"https://{DOMAIN}/")
    (call,) = raising.cloud.wait(lambda: raising.calls(job["id"]))
    assert f"'api_url': '{raising.cloud.http}/web/raising-api'" in call["args"]
    api = raising.cloud.functions("raising")["api"]["definition"]["webhook_config"]
    assert [domain["name"] for domain in api["custom_domains"]] == [DOMAIN]
    raising.done(job["id"])


def test_a_timeout_error_out_of_a_worker_looks_like_work_until_the_job_s_own_deadline(
    raising: Live,
) -> None:
    job = raising.submit(prompt="leaked", timeout_seconds=4)

    done = raising.done(job["id"])

    assert (done["status"], done["error"]["kind"]) == ("failed", "timeout"), done
    (call,) = raising.calls(job["id"])
    assert call["status"] == "FAILURE"
