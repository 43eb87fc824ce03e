"""The admin pages in a real browser, against a real service."""

import random
from collections.abc import Iterator

import pytest
from PIL import Image
from playwright.sync_api import Browser, Route, expect

from tests.admin.browser import SCHEMES, Visitor, chromium, needs_chromium
from tests.admin.pages import sections
from tests.admin.receiver import receiver
from tests.api.world import WORKER_TOKEN
from tests.journey.service import KEY, Running, running
from tests.workers.inputs.pictures import png, saved

pytestmark = [pytest.mark.slow, needs_chromium]

HOSTILE = '"><script>document.title="taken"</script><img src=x onerror=alert(2)>'


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    folder = tmp_path_factory.mktemp("service")
    settings = {"running_lease_seconds": 5, "webhooks_allow_loopback": True}
    settings |= {"worker_token": WORKER_TOKEN}
    with running(folder, models=["slate"], **settings) as service:
        yield service


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as browser:
        yield browser


@pytest.fixture
def visitor(browser: Browser, service: Running) -> Iterator[Visitor]:
    """Somebody who is not logged in; nothing that the console complains of is let pass."""
    context = browser.new_context(**SCHEMES["light"])
    visitor = Visitor(context.new_page(), str(service.client.base_url))
    yield visitor
    context.close()
    assert visitor.complaints == []


@pytest.fixture
def admin(visitor: Visitor) -> Visitor:
    return visitor.log_in(KEY)


def slow_job(service: Running, **ask: object) -> str:
    """Submit a job that takes a while."""
    long = {"width": 1280, "height": 704, "num_frames": 720, **ask}
    return str(service.submit(**long)["id"])


def test_progress_moves_without_a_reload_until_the_video_plays(
    admin: Visitor, service: Running
) -> None:
    job_id = slow_job(service, num_frames=240)
    page = admin.go(f"/jobs/{job_id}")
    page.evaluate("window.isSamePage = true")

    admin.until("document.querySelector('#live progress')?.value > 0")
    expect(page.locator("#live .state").first).to_have_text("succeeded", timeout=120_000)

    video = page.locator("#live video")
    video.evaluate("video => video.play()")
    admin.until("document.querySelector('#live video').currentTime > 0.2")
    assert page.evaluate("window.isSamePage")
    # Nothing is asked for any more.
    assert page.locator("#live[hx-get]").count() == 0


_NO_TIMERS = """
for (const name of ["setTimeout", "setInterval"]) {
  const start = window[name];
  window[name] = (run, ms, ...rest) => ms >= 1000 ? 0 : start(run, ms, ...rest);
}
"""


def test_progress_moves_by_events_alone(admin: Visitor, service: Running) -> None:
    admin.page.add_init_script(_NO_TIMERS)
    job_id = slow_job(service, num_frames=240)
    page = admin.go(f"/jobs/{job_id}")

    admin.until("document.querySelector('#live progress')?.value > 0")
    expect(page.locator("#live .state").first).to_have_text("succeeded", timeout=120_000)
    admin.until("stream === null")


def test_progress_moves_without_events(admin: Visitor, service: Running) -> None:
    admin.page.route("**/events", lambda route: route.fulfill(status=204))
    job_id = slow_job(service, num_frames=240)
    page = admin.go(f"/jobs/{job_id}")

    admin.until("document.querySelector('#live progress')?.value > 0")
    expect(page.locator("#live .state").first).to_have_text("succeeded", timeout=120_000)


@pytest.mark.parametrize("complaint", ["status of 500", "net::ERR_CONNECTION_FAILED"])
def test_a_poll_that_fails_is_noticed(admin: Visitor, service: Running, complaint: str) -> None:
    """Else no test here would turn red by one."""
    job_id = slow_job(service)

    def fail(route: Route) -> None:
        if "500" in complaint:
            route.fulfill(status=500)
        else:
            route.abort("connectionfailed")

    admin.page.route("**/live", fail)
    admin.go(f"/jobs/{job_id}")
    admin.until(lambda: any(complaint in text for text in admin.complaints))
    expect(admin.page.get_by_role("alert")).to_contain_text("No answer since")

    admin.page.unroute("**/live")
    expect(admin.page.get_by_role("alert")).to_have_count(0, timeout=120_000)
    service.client.post(f"/v1/jobs/{job_id}/cancel")
    admin.go("")
    admin.complaints.clear()


def test_a_running_job_is_canceled(admin: Visitor, service: Running) -> None:
    job_id = slow_job(service)
    service.until(job_id, lambda job: job["status"] == "running")
    page = admin.go(f"/jobs/{job_id}")

    page.get_by_role("button", name="Cancel").click()

    expect(page.locator("#live .state").first).to_have_text("canceled", timeout=120_000)
    assert service.job(job_id)["status"] == "canceled"


def test_a_phone_names_the_cells_of_a_worker_that_is_unfit(
    admin: Visitor, service: Running
) -> None:
    told = {"worker": "unfit-1", "models": ["slate"], "reason": "no space is left"}
    headers = {"Authorization": f"Bearer {WORKER_TOKEN}"}
    service.client.post("/internal/unfit", json=told, headers=headers).raise_for_status()
    row = admin.go("/workers").locator("tr", has_text="takes no job: no space is left")

    labels = row.locator("td").evaluate_all("cells => cells.map(cell => cell.dataset.label)")

    assert labels == ["Worker", "Does", "Last heard"]


def test_a_name_that_is_cut_off_is_shown_where_one_points(admin: Visitor, service: Running) -> None:
    name = "the key of a customer in Reykjavik, which is far too long for its column"
    service.client.post("/v1/keys", json={"name": name}).raise_for_status()
    cell = admin.go("/keys").locator("td.cut", has_text=name)
    short = admin.page.locator("td.cut", has_text="first key")

    cell.hover()
    expect(cell).to_have_attribute("title", name)
    short.hover()
    assert short.get_attribute("title") is None


def test_a_video_is_made_by_the_form(admin: Visitor, service: Running) -> None:
    page = admin.go("")
    page.get_by_role("link", name="New video").click()
    page.get_by_label("Prompt", exact=True).fill("A corgi surfing a wave")
    page.get_by_label("Seconds").fill("2")
    expect(page.locator("#estimate")).to_contain_text("48 frames")

    page.get_by_role("button", name="Make the video").click()

    page.wait_for_url("**/admin/jobs/job_*")
    expect(page.locator("#live .state").first).to_have_text("succeeded", timeout=120_000)
    expect(page.locator("#live video")).to_be_visible()


def test_what_the_form_refuses_is_said_beside_it(admin: Visitor) -> None:
    page = admin.go("/new/video")
    page.get_by_label("Prompt", exact=True).fill("x")
    page.locator("form.make").evaluate("form => { form.noValidate = true }")
    page.get_by_label("Width").fill("63")

    page.get_by_role("button", name="Make the video").click()

    expect(page.get_by_role("alert")).to_contain_text("nearest")


def test_an_image_is_dropped_on_its_field(admin: Visitor, service: Running) -> None:
    page = admin.go("/new/video")
    page.get_by_label("Prompt", exact=True).fill("it moves")
    picture = {"name": "photo.png", "mimeType": "image/png", "buffer": png(64, 64)}

    page.locator("[name=image]").set_input_files(picture)
    expect(page.locator(".drop img")).to_be_visible()
    page.get_by_text("More parameters").click()
    page.get_by_label("Loop").select_option("true")
    page.get_by_label("Seconds").fill("2")
    expect(page.locator("#estimate")).to_contain_text("48 frames")
    expect(page.locator("#estimate")).not_to_contain_text("needs")
    page.get_by_role("button", name="Make the video").click()

    page.wait_for_url("**/admin/jobs/job_*")
    assert "image/png, 64x64" in page.inner_text("main")
    assert service.job(page.url.rpartition("/")[2])["input"]["loop"] is True


def test_an_estimate_is_sent_only_the_head_of_a_picture(admin: Visitor, service: Running) -> None:
    noise = Image.frombytes("RGB", (1200, 600), random.Random(7).randbytes(1200 * 600 * 3))
    picture = saved(noise, "PNG")
    page = admin.go("/new/video")
    page.get_by_label("Prompt", exact=True).fill("it moves")
    expect(page.locator("#estimate")).to_contain_text("768\N{MULTIPLICATION SIGN}512")
    file = {"name": "photo.png", "mimeType": "image/png", "buffer": picture}

    with page.expect_request_finished(lambda it: it.url.endswith("/estimate")) as estimate:
        page.locator("[name=image]").set_input_files(file)

    expect(page.locator("#estimate")).not_to_contain_text("768\N{MULTIPLICATION SIGN}512")
    expect(page.locator("#estimate")).to_contain_text("costs about")
    assert int(estimate.value.all_headers()["content-length"]) < 300_000 < len(picture)
    page.get_by_role("button", name="Make the video").click()
    page.wait_for_url("**/admin/jobs/job_*")
    image = service.job(page.url.rpartition("/")[2])["input"]["image"]
    assert image["size_bytes"] == len(picture)


def test_a_chosen_file_is_taken_away_by_the_keyboard(admin: Visitor) -> None:
    page = admin.go("/new/video")
    picture = {"name": "photo.png", "mimeType": "image/png", "buffer": png(64, 64)}
    page.locator("[name=image]").set_input_files(picture)
    expect(page.locator(".drop img")).to_be_visible()

    page.get_by_role("button", name="Take away: First frame").press("Enter")

    expect(page.locator(".drop img")).to_have_count(0)
    assert page.locator("[name=image]").evaluate("input => input.files.length") == 0
    expect(page.locator(".drop").first).to_contain_text("Drop an image here")


def test_a_wrong_value_in_a_fold_is_shown_and_said_at_once(admin: Visitor) -> None:
    page = admin.go("/new/video")
    page.get_by_label("Prompt", exact=True).fill("x")
    page.get_by_text("More parameters").click()
    page.locator("[name=num_inference_steps]").fill("9999")
    expect(page.locator("#estimate")).to_contain_text("Steps: Value must be less than or equal to")
    page.get_by_text("More parameters").click()

    page.get_by_role("button", name="Make the video").click()

    expect(page.locator("[name=num_inference_steps]")).to_be_focused()


def test_the_list_of_jobs_renews_itself(admin: Visitor, service: Running) -> None:
    page = admin.go("/jobs")
    page.evaluate("window.isSamePage = true")

    job_id = slow_job(service, prompt="a job that comes later")

    expect(page.locator(f"#{job_id}")).to_be_visible(timeout=120_000)
    expect(page.locator("#open-jobs")).not_to_be_empty()
    service.client.post(f"/v1/jobs/{job_id}/cancel")
    row = page.locator("tr", has=page.locator(f"#{job_id}"))
    expect(row.locator(".state")).to_have_text("canceled", timeout=120_000)
    assert page.evaluate("window.isSamePage") is True


def test_a_failed_job_is_retried_with_an_edit(admin: Visitor, service: Running) -> None:
    canceled = slow_job(service, prompt="a red ball", num_frames=1440)
    service.client.post(f"/v1/jobs/{canceled}/cancel")
    service.wait(canceled)
    page = admin.go(f"/jobs/{canceled}")

    page.get_by_role("link", name="Retry…").click()
    page.locator("[name=num_frames]").fill("24")
    page.locator("[name=prompt]").fill("a green ball")
    expect(page.locator("#estimate ins").first).to_have_text("a green ball")
    page.get_by_role("button", name="Retry").click()

    page.wait_for_url(lambda url: "/retry" not in url and canceled not in url)
    expect(page.locator("#live .state").first).to_have_text("succeeded", timeout=120_000)
    changes = page.locator("table.diff tbody tr").all_inner_texts()
    assert [line.split() for line in changes] == [
        ["prompt", "a", "red", "ball", "a", "green", "ball"],
        ["num_frames", "1440", "24"],
    ]


def test_three_hundred_jobs_are_canceled_by_their_filter(admin: Visitor, service: Running) -> None:
    service.client.put("/v1/models/slate/paused")
    for number in range(300):
        service.submit(prompt=f"one of many, number {number}", metadata={"batch": "many"})
    kept = service.submit(prompt="not one of them")["id"]
    page = admin.go("/jobs?label=batch%3Dmany")
    assert page.get_by_role("link", name="Older").count() == 1  # they are on several pages

    page.get_by_text("All that match…").click()
    page.get_by_role("link", name="Cancel all of them…").click()
    page.get_by_role("button", name="Cancel 300 jobs").click()

    expect(page.locator("#live .state")).to_have_text("done", timeout=120_000)
    expect(page.locator("#live")).to_contain_text("300 changed")
    rows = page.locator("main table tbody tr")
    expect(rows).to_have_count(200)
    page.get_by_role("link", name="More").click()
    expect(rows).to_have_count(100)
    expect(rows.first).to_contain_text("canceled")
    left = service.client.get("/v1/jobs?status=queued").json()["data"]
    assert [job["id"] for job in left] == [kept]
    service.client.delete("/v1/models/slate/paused")
    admin.go("/audit")
    assert "bulk.start" in page.inner_text("main table tbody tr:nth-child(2)")


def test_a_model_is_paused_and_resumed(admin: Visitor, service: Running) -> None:
    page = admin.go("/models")
    page.get_by_role("button", name="Pause slate").click()
    expect(page.get_by_role("link", name="Paused: slate")).to_be_visible()
    job_id = str(service.submit()["id"])
    admin.go(f"/jobs/{job_id}")
    expect(page.locator("#live")).to_contain_text("slate is paused")

    page.get_by_role("link", name="Paused: slate").click()
    page.get_by_role("button", name="Resume slate").click()

    expect(page.get_by_role("link", name="Paused: slate")).to_have_count(0)
    assert service.wait(job_id)["status"] == "succeeded"


def test_a_webhook_is_replayed(admin: Visitor, service: Running) -> None:
    with receiver() as calls:
        service.wait(service.submit(webhook_url=calls.url)["id"])
        calls.wait_for(1)
        page, replay = admin.page, admin.page.get_by_role("button", name="Replay").first
        admin.until(lambda: admin.go("/webhooks") and replay.is_visible())  # the try is recorded
        replay.click()
        expect(page.get_by_role("status")).to_contain_text("The delivery is sent again")
        calls.wait_for(2)

    assert calls.ids[0] == calls.ids[1]


def test_a_key_is_made_and_shown_once(admin: Visitor) -> None:
    page = admin.go("/keys")
    page.get_by_label("Name").fill("render farm")
    page.get_by_role("button", name="Create the key").click()

    secret = page.locator(".notice code").inner_text()
    assert secret.startswith("rsh_")
    admin.go("/keys")
    assert secret not in page.content()


def test_a_thumbnail_plays_while_it_is_pointed_at(admin: Visitor, service: Running) -> None:
    job_id = service.wait(service.submit(prompt="to be pointed at", num_frames=48)["id"])["id"]
    page = admin.go("/jobs?text=pointed")
    thumb = page.locator(f"tr:has(a[href$='{job_id}']) .thumb")

    thumb.hover()
    admin.until("document.querySelector('.thumb video')?.currentTime > 0")
    page.mouse.move(0, 0)

    expect(page.locator(".thumb video")).to_have_count(0)


def test_hostile_text_is_text(admin: Visitor, service: Running) -> None:
    made = service.client.post("/v1/keys", json={"name": HOSTILE}).json()
    job = service.client.post(
        "/generate-video",
        json={
            "prompt": HOSTILE,
            "negative_prompt": HOSTILE,
            "metadata": {"scene": HOSTILE},
            "width": 64,
            "height": 64,
            "num_frames": 2,
            "webhook_url": f"http://127.0.0.1:9/{HOSTILE.replace(' ', '%20')}",
        },
        headers={"Authorization": f"Bearer {made['secret']}"},
    )
    assert job.status_code == 202, job.text

    for path in ("/jobs", f"/jobs/{job.json()['id']}", f"/jobs?text={HOSTILE}"):
        page = admin.go(path)
        assert page.title().endswith("Rushes")
        assert page.inner_text("main").count(HOSTILE) >= 2  # the prompt and the name of the key
    admin.go("")


def test_a_viewer_sees_no_button(visitor: Visitor, service: Running) -> None:
    made = service.client.post("/v1/keys", json={"name": "support", "role": "viewer"}).json()
    job_id = service.wait(service.submit()["id"])["id"]
    visitor.log_in(made["secret"])

    for path in (*sections(), f"/admin/jobs/{job_id}"):
        page = visitor.go(path.removeprefix("/admin"))
        buttons = page.locator("main button:not([data-copy])").all_inner_texts()
        assert [text for text in buttons if text != "Filter"] == []
        assert page.locator("main form[method=post]").count() == 0


def test_the_keyboard_is_enough(visitor: Visitor, service: Running) -> None:
    service.wait(service.submit(prompt="by keyboard")["id"])
    page = visitor.page
    page.goto(f"{visitor.url}/admin/jobs?text=")
    page.keyboard.type(KEY)  # the field has the focus
    page.keyboard.press("Enter")
    page.wait_for_url(f"{visitor.url}/admin/jobs?text=")

    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "Skip to the content"
    page.keyboard.press("Enter")
    for _ in range(10):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.name === 'text'"):
            break
    page.keyboard.type("keyboard")
    page.keyboard.press("Enter")
    page.wait_for_url("**text=keyboard**")
    page.locator("main").focus()
    for _ in range(30):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.matches('td.prompt a')"):
            break
    page.keyboard.press("Enter")
    page.wait_for_url("**/admin/jobs/job_*")
