"""The page of the workers."""

import base64
import re

import pytest

from tests.admin.person import Person
from tests.admin.test_acts import until
from tests.admin.test_make import serve_puppet as serve_puppet
from tests.api.test_warm import Counting
from tests.api.test_warm import modal as modal
from tests.api.world import WORKER_TOKEN, World
from tests.workers.inputs.pictures import png


def _rows(html: str) -> list[list[str]]:
    """Return the cells of all rows of the page's tables, as text."""
    rows = re.findall(r"<tr>(.*?)</tr>", html, re.DOTALL)
    cells = [re.findall(r"<td[^>]*>(.*?)</td>", row, re.DOTALL) for row in rows]
    return [[re.sub("<[^>]+>", "", cell).strip() for cell in row] for row in cells if row]


def test_each_worker_is_shown_with_what_it_does(world: World, admin: Person) -> None:
    job = world.submit(prompt="a corgi")
    world.claim(worker="busy-1", gpu="L40S")
    world.claim(worker="idle-1", models=["slate", "puppet"], warm="slate", gpu="A10")
    _report_unfit(world, "unfit-1", "no space is left on <its> disk")

    html = admin.get("/admin/workers").text

    rows = _rows(html)
    assert rows[0][:2] == ["busy-1", "a corgi slate"]
    assert rows[0][4] == "L40S"
    assert rows[1][:3] == ["idle-1", "waits for a job", "idle"]
    assert rows[1][4:6] == ["A10", "slate"]
    assert rows[2][:2] == ["unfit-1", "takes no job: no space is left on &lt;its&gt; disk"]
    assert ["idle-1", "slate, puppet"] in rows
    assert f'href="/admin/jobs/{job["id"]}"' in html


@pytest.mark.usefixtures("serve_puppet")
def test_an_avatar_is_shown_by_its_words(world: World, admin: Person) -> None:
    face = base64.b64encode(png(64, 64)).decode()
    body = {"text": "Good morning.", "reference_image": face}
    world.client.post("/generate-avatar", json=body).raise_for_status()
    until(lambda: world.claim(worker="gpu-1", models=["puppet"]).status_code == 200)

    for path in ("/admin", "/admin/workers"):
        rows = _rows(admin.get(path).text)
        assert ["gpu-1", "Good morning. puppet"] in [row[:2] for row in rows]


def test_a_worker_that_another_process_hears_is_shown(world: World, admin: Person) -> None:
    world.submit(prompt="a corgi")
    world.claim(worker="gpu-7", gpu="L40S")
    world.runtime.fleet._workers.clear()  # as after a restart, or as a second process sees it

    for path in ("/admin", "/admin/now", "/admin/workers", "/admin/workers/now"):
        assert "gpu-7" in admin.get(path).text


def test_the_overview_counts_the_workers_and_leads_to_them(world: World, admin: Person) -> None:
    _report_unfit(world, "unfit-1", "the GPU fell off the bus")

    html = admin.get("/admin").text

    assert '<a class="tile" href="/admin/workers">' in html
    assert "1 unfit" in html


def test_containers_of_a_platform_are_counted_by_model(admin: Person, modal: Counting) -> None:
    modal.containers = 3

    def page(path: str) -> str:
        return re.sub(r"\s+", " ", re.sub("<[^>]+>", " ", admin.get(path).text))

    until(lambda: "Workers 0 of 3 busy warm: slate" in page("/admin"))
    workers = page("/admin/workers")
    assert "Idle 3 in memory: slate" in workers
    assert "Model Containers slate 3" in workers


def test_a_part_of_the_page_is_read_again_by_a_viewer(world: World, viewer: Person) -> None:
    assert 'hx-get="/admin/workers/now"' in viewer.get("/admin/workers").text
    assert "No worker holds a job" in viewer.get("/admin/workers/now").text
    world.submit()
    world.claim(worker="busy-1")
    assert "busy-1" in viewer.get("/admin/workers/now").text


def _report_unfit(world: World, worker: str, reason: str) -> None:
    answer = world.client.post(
        "/internal/unfit",
        json={"worker": worker, "models": ["slate"], "reason": reason},
        headers={"Authorization": f"Bearer {WORKER_TOKEN}"},
    )
    assert answer.status_code == 204
