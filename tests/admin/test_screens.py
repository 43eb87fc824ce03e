"""Every page as people see it: by day, by night and on a phone; pictures are left in out/admin."""

import base64
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, expect

from tests.admin.browser import AXE, ROOT, SCHEMES, Visitor, needs_chromium
from tests.admin.pages import sections
from tests.admin.receiver import receiver
from tests.admin.test_browser import browser as browser
from tests.journey.service import KEY, Running, running
from tests.workers.avatars import FACES
from tests.workers.inputs.pictures import png

pytestmark = [pytest.mark.slow, needs_chromium]

PROMPTS = (
    "A corgi surfing a wave, golden hour",
    "A lighthouse in a storm, seen from a drone that circles it, slow motion, film grain, "
    "the beam of its lamp cutting through the rain while waves break over the rocks below",
    "Hello",
)


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    settings = {"models": ["slate", "puppet"], "webhooks_allow_loopback": True}
    with running(tmp_path_factory.mktemp("service"), **settings) as service:
        yield service


@pytest.fixture(scope="module")
def paths(service: Running, browser: Browser) -> dict[str, str]:
    """The pages, by the names of their pictures, with something to show on each."""
    submitted = [service.submit(prompt=prompt, width=640, height=352) for prompt in PROMPTS]
    done, *_ = [service.wait(job["id"])["id"] for job in submitted]
    _make_keys(service)
    _make_avatars(service)
    failed = _submit_avatar(service, png(256, 256))
    service.wait(failed)
    service.wait(_submit_avatar(service, FACES["anna"].read_bytes()))
    _deliver_webhooks(service)
    bulk = _cancel_waiting_jobs(service, browser)
    return {
        "overview": "",
        "jobs": "/jobs",
        "jobs_refused": "/jobs?label=scene&text=corgi",
        "job": f"/jobs/{done}",
        "job_failed": f"/jobs/{failed}",
        "new": "/new/video",
        "new_avatar": "/new/avatar",
        "retry": f"/jobs/{done}/retry",
        "models": "/models",
        "workers": "/workers",
        "voices": "/voices",
        "webhooks": "/webhooks",
        "keys": "/keys",
        "bulk_new": "/bulk/new?act=retry&state=succeeded",
        "bulk": bulk,
        "bulk_list": "/bulk",
        "audit": "/audit",
        "missing": "/nothing",
    }


def _make_keys(service: Running) -> None:
    for name, role, budget in (
        ("render farm", "user", 50),
        ("a key with quite a long name, of the customer Acme & Sons in Reykjavik", "user", None),
        ("support desk", "viewer", None),
    ):
        body = {"name": name, "role": role, "budget_usd": budget}
        service.client.post("/v1/keys", json=body).raise_for_status()


def _make_avatars(service: Running) -> None:
    for name, face in FACES.items():
        data = {"name": name.title(), "consent": f"{name.title()} agreed in writing."}
        files = {"image": ("face.jpg", face.read_bytes(), "image/jpeg")}
        service.client.post("/v1/avatars", data=data, files=files).raise_for_status()


def _submit_avatar(service: Running, photo: bytes) -> str:
    image = base64.b64encode(photo).decode()
    body = {"text": "Good morning, and welcome to the show.", "reference_image": image}
    answer = service.client.post("/generate-avatar", json=body).raise_for_status()
    return str(answer.json()["id"])


def _deliver_webhooks(service: Running) -> None:
    with receiver() as calls:
        for url in (calls.url, f"{calls.url}/of/a/customer/whose/path/is/long"):
            service.client.post("/v1/webhook-endpoints", json={"url": url}).raise_for_status()
        service.wait(service.submit(webhook_url=calls.url)["id"])
        calls.wait_for(2)
    service.wait(service.submit(webhook_url=calls.url)["id"])  # nobody is there any more


def _cancel_waiting_jobs(service: Running, browser: Browser) -> str:
    """Cancel jobs that wait by a bulk action, and leave some; return the path of the action."""
    service.client.put("/v1/models/puppet/paused").raise_for_status()
    for _ in range(3):
        _submit_avatar(service, FACES["marc"].read_bytes())
    admin = Visitor(browser.new_page(), str(service.client.base_url)).log_in(KEY)
    page = admin.go("/bulk/new?act=cancel&model=puppet&state=queued")
    page.get_by_role("button", name="Cancel 3 jobs").click()
    page.wait_for_url("**/admin/bulk/blk_*")
    expect(page.locator("#live .state")).to_have_text("done", timeout=120_000)
    path = page.url.partition("/admin")[2]
    page.close()
    _submit_avatar(service, FACES["zuri"].read_bytes())
    return path


@pytest.mark.parametrize("scheme", SCHEMES)
def test_every_page_is_fit_to_be_seen(
    browser: Browser, service: Running, paths: dict[str, str], scheme: str
) -> None:
    """Nobody is kept out, nothing is wider than the screen; pictures are left in out/."""
    assert {f"/admin{path}" for path in paths.values()} >= set(sections())
    folder = ROOT / "out/admin"
    folder.mkdir(parents=True, exist_ok=True)
    context = browser.new_context(**SCHEMES[scheme])
    visitor = Visitor(context.new_page(), str(service.client.base_url))
    visitor.page.goto(f"{visitor.url}/admin/login")
    visitor.page.screenshot(path=folder / f"login-{scheme}.png")
    visitor.log_in(KEY)
    faults = {}
    for name, path in paths.items():
        page = visitor.go(path)
        page.wait_for_load_state("networkidle")
        page.screenshot(path=folder / f"{name}-{scheme}.png", full_page=True)
        wide = page.evaluate("document.documentElement.scrollWidth > innerWidth")
        faults[name] = ["wider than the screen"] if wide else []
        if AXE.exists():
            faults[name] += visitor.serious_faults()
    context.close()

    assert {name: found for name, found in faults.items() if found} == {}
    assert AXE.exists(), "npm ci --prefix tests/admin brings axe-core"
