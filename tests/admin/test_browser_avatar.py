"""Avatars and voices in a real browser, against a real service."""

import base64
import json
import wave
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from playwright.sync_api import Locator, expect

from tests.admin.browser import Visitor, needs_chromium
from tests.admin.test_browser import admin as admin
from tests.admin.test_browser import browser as browser
from tests.admin.test_browser import visitor as visitor
from tests.journey.service import Running, running
from tests.speech.provider import pcm
from tests.workers.avatars import FACES

pytestmark = [pytest.mark.slow, needs_chromium]

FACE = FACES["anna"]


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with running(tmp_path_factory.mktemp("service"), models=["puppet"]) as service:
        yield service


def drop(file: Path, target: Locator) -> None:
    """Drop a file of this machine as a hand does, not by an event of the page's own making."""
    box = target.bounding_box()
    assert box is not None
    place = {"x": box["x"] + box["width"] / 2, "y": box["y"] + box["height"] / 2}
    data = {"items": [], "files": [str(file)], "dragOperationsMask": 1}
    session = target.page.context.new_cdp_session(target.page)
    for kind in ("dragEnter", "dragOver", "drop"):
        session.send("Input.dispatchDragEvent", {"type": kind, **place, "data": data})


def test_an_avatar_is_made_of_a_dropped_face_and_a_dropped_sound(
    admin: Visitor, service: Running, tmp_path: Path
) -> None:
    sound = tmp_path / "hello.wav"
    with wave.open(str(sound), "wb") as target:
        target.setparams((1, 2, 16_000, 0, "NONE", ""))
        target.writeframes(pcm(8, 16_000))
    page = admin.go("/new/avatar")
    expect(page.locator("#estimate")).to_contain_text("Write words or add a recording")
    face_field = page.locator(".drop", has_text="Photo of a face")

    drop(FACE, face_field)
    drop(sound, page.locator(".drop", has_text="Recording"))
    expect(face_field.locator("img")).to_be_visible()
    expect(page.locator(".drop", has_text="hello.wav")).to_be_visible()
    expect(page.locator("#estimate")).to_contain_text("costs about")
    expect(page.locator("#estimate")).to_contain_text("as long as its sound")
    page.get_by_role("button", name="Make the avatar").click()

    page.wait_for_url("**/admin/jobs/job_*")
    page.evaluate("window.isSamePage = true")
    admin.until("document.querySelector('#live progress')?.value > 0")
    expect(page.locator("#live .state").first).to_have_text("succeeded", timeout=120_000)
    page.locator("#live video").evaluate("video => { video.muted = false; video.play() }")
    admin.until("document.querySelector('#live video').currentTime > 0.2")
    assert page.evaluate("window.isSamePage")
    assert "with sound" in page.inner_text("#live")


def test_an_avatar_is_made_of_words_and_again_from_code(admin: Visitor, service: Running) -> None:
    page = admin.go("/new/avatar")
    page.get_by_label("Words to speak").fill("Good morning.")
    assert page.locator("#voices option").first.get_attribute("value") == "hibari-heart"
    page.locator("[name=reference_image]").set_input_files(FACE)
    page.get_by_text("More parameters").click()
    page.get_by_label("Captions").select_option("beside the video")

    page.get_by_role("button", name="Make the avatar").click()

    page.wait_for_url("**/admin/jobs/job_*")
    expect(page.locator("#live .state").first).to_have_text("succeeded", timeout=120_000)
    path = page.get_by_role("link", name="Captions").get_attribute("href")
    assert "Good morning." in httpx.get(f"{service.client.base_url}{path}").text
    expect(page.locator("h1")).to_have_text("Good morning.")
    curl = page.locator("[data-copy^=curl]").get_attribute("data-copy") or ""
    body = json.loads(curl.partition("-d '")[2].removesuffix("'"))
    body["reference_image"] = base64.b64encode(FACE.read_bytes()).decode()
    again = service.client.post("/generate-avatar", json=body)
    assert (again.status_code, again.json()["input"]["text"]) == (202, "Good morning.")


def test_a_voice_is_heard_by_its_sample(admin: Visitor) -> None:
    page = admin.go("/voices")
    button = page.get_by_role("button", name="Play Heart")

    button.click()
    expect(button).to_have_text("Stop")
    button.click()

    expect(button).to_have_text("Play")


def test_an_avatar_is_seen_and_deleted(admin: Visitor, service: Running) -> None:
    data = {"name": "Anna", "consent": "Anna agreed in writing."}
    files = {"image": ("anna.jpg", FACE.read_bytes(), "image/jpeg")}
    assert service.client.post("/v1/avatars", data=data, files=files).status_code == 201
    page = admin.go("/voices")
    admin.until("document.querySelector('.likeness img').naturalWidth > 0")

    page.get_by_text("Delete…").click()
    page.get_by_role("button", name="Delete Anna").click()

    expect(page.get_by_text("No key keeps an avatar.")).to_be_visible()
