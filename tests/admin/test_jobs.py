"""The pages of jobs: filters, hostile text, and what a viewer sees."""

import html
import re
from contextlib import ExitStack
from datetime import timedelta
from urllib.parse import urlencode

import httpx
import pytest

from service.domain.ids import JobId, KeyId
from service.domain.job import Scope
from service.domain.speech import SpeechUsage
from service.lifecycle.jobs import cancel
from service.settings import Settings
from service.store import jobs, keys, statistics
from tests.admin.person import Person
from tests.admin.test_acts import until
from tests.api.live import live
from tests.api.world import KEY, World

HOSTILE = '"><script>alert(1)</script><img src=x onerror=alert(2)>'
ESCAPED = "&lt;script&gt;alert(1)&lt;/script&gt;"


def ids_in(text: str) -> list[str]:
    return re.findall(r'class="prompt"><a id="(job_\w+)"', text)


def listed(person: Person, query: str) -> list[str]:
    answer = person.get(f"/admin/jobs?{query}")
    assert answer.status_code == 200, answer.text
    return ids_in(answer.text)


def test_an_admin_sees_the_jobs_of_all_keys(admin: Person) -> None:
    own = admin.world.submit()
    other = {"Authorization": f"Bearer {admin.world.other_key()}"}
    foreign = admin.world.client.post("/generate-video", json={"prompt": "y"}, headers=other).json()

    assert listed(admin, "") == [foreign["id"], own["id"]]
    assert admin.get(f"/admin/jobs/{foreign['id']}").status_code == 200


def test_each_filter_selects(admin: Person) -> None:
    world = admin.world
    blue = world.submit(prompt="a Blue ball, 100% round", metadata={"scene": "12"})["id"]
    done = world.finish()
    assert done == blue
    red = world.submit(prompt="a red ball", model="ltx-2b")["id"]
    other = {"Authorization": f"Bearer {world.other_key()}"}
    body = {"prompt": "a green tree"}
    tree = world.client.post("/generate-video", json=body, headers=other).json()["id"]
    job_of_tree = world.runtime.db.read(lambda tx: jobs.get(tx, JobId(tree)))
    assert job_of_tree is not None
    key_id = job_of_tree.key_id
    job = world.job(blue)
    ended = job["finished_at"][:19]

    assert listed(admin, "state=succeeded") == [blue]
    assert listed(admin, "state=queued&state=running") == [tree, red]
    assert listed(admin, "model=ltx-2b") == [red]
    assert listed(admin, f"key={key_id}") == [tree]
    assert listed(admin, "kind=avatar") == []
    assert listed(admin, "text=blue+ball") == [blue]
    assert listed(admin, "text=100%25") == [blue]
    assert listed(admin, f"text={red}") == [red]
    assert listed(admin, f"id={red}&id={blue}") == [red, blue]
    assert listed(admin, f"text={red}+{blue}") == [red, blue]
    assert listed(admin, f"text={red}+{blue}&id={blue}&id={tree}") == [blue]
    assert listed(admin, f"text={red}&id={blue}") == []
    assert listed(admin, "label=scene%3D12") == [blue]
    assert listed(admin, "error=worker_lost") == []
    assert listed(admin, f"ended_from={ended}") == [blue]
    assert listed(admin, f"ended_before={ended}") == []
    assert listed(admin, "created_from=2100-01-01T00:00:00") == []
    assert listed(admin, "created_before=2100-01-01T00:00:00&state=&model=") == [tree, red, blue]


def test_each_word_of_a_filter_counts_or_is_refused(admin: Person) -> None:
    words = "a b c d e f g h i j k l m n o p".split()
    job = admin.world.submit(prompt=" ".join(words))["id"]

    assert listed(admin, "text=" + "+".join(words)) == [job]
    assert listed(admin, "text=" + "+".join([*words[:15], "zebra"])) == []
    for path in ("/admin/jobs", "/admin/bulk/new"):
        answer = admin.get(path, params={"act": "cancel", "text": " ".join([*words, "zebra"])})
        assert answer.status_code == 422
        assert "text: at most 16 words, not 17" in answer.text


def test_the_filters_that_are_set_are_shown_as_they_are(admin: Person) -> None:
    query = "text=Tall+Tree&error=OutOfTime&created_from=2026-11-01T09:30:00"

    page = admin.get(f"/admin/jobs?{query}").text
    chips = re.findall(r'<li class="chip"><span class="dim">(.*?)</span> (.*?) <a', page)

    assert chips == [
        ("prompt or id", "Tall Tree"),
        ("error", "OutOfTime"),
        ("submitted from", "2026-11-01 09:30:00"),
    ]


@pytest.mark.parametrize(
    ("query", "field", "detail"),
    [
        ("label=scene", 'name="label" value="scene"', "write a label and its text"),
        ("state=sleeping", 'class="checks"', "state: must be"),
        (
            "created_from=yesterday",
            'name="created_from" value="yesterday"',
            "2026-11-30T14:00, in UTC",
        ),
        ("text=a%00b", 'name="text" value="ab"', "text: "),
        ("model=" + "m" * 65, "<select", "model: must have at most 64 characters"),
    ],
)
def test_a_filter_that_means_nothing_is_named_beside_its_field(
    admin: Person, query: str, field: str, detail: str
) -> None:
    admin.world.submit(prompt="a red ball")

    answer = admin.get(f"/admin/jobs?{query}&error=worker_lost")

    assert answer.status_code == 422
    name = query.partition("=")[0]
    refusal = re.search(rf'<span class="refusal" id="refusal-{name}">(.*?)</span>', answer.text)
    assert refusal is not None
    assert detail in refusal[1]
    if name != "state":
        assert re.search(rf'name="{name}"[^>]*aria-describedby="refusal-{name}"', answer.text)
    # The form is as it was typed; no list is shown for it, and one is a click away.
    assert field in answer.text
    assert 'name="error" value="worker_lost"' in answer.text
    assert "a red ball" not in answer.text
    assert 'href="?error=worker_lost"' in answer.text


@pytest.mark.parametrize("path", ["jobs?", "bulk/new?act=cancel&"], ids=["list", "bulk"])
def test_a_filter_that_cannot_be_is_refused_on_each_page(admin: Person, path: str) -> None:
    for name in ("text", "model", "kind", "key", "error", "label", "id"):
        assert admin.get(f"/admin/{path}{name}=a%00").status_code == 422, name
    answer = admin.get(f"/admin/{path}stat=failed")
    assert answer.status_code == 422
    assert "stat: no such filter; did you mean state?" in answer.text


@pytest.mark.parametrize("moment", ["0001-01-01T00:00:00{}14:00", "9999-12-31T23:59:59{}14:00"])
@pytest.mark.parametrize("name", ["created_from", "created_before", "ended_from", "ended_before"])
def test_the_first_and_the_last_moment_are_times_or_refused(
    admin: Person, name: str, moment: str
) -> None:
    outside, inside = ("+", "-") if moment.startswith("0001") else ("-", "+")

    for path in ("/admin/jobs", "/admin/bulk/new"):
        refused = admin.get(path, params={"act": "cancel", name: moment.format(outside)})
        assert refused.status_code == 422
        assert f"{name}: must be within the years 1 to 9999 in UTC" in refused.text
        taken = admin.get(path, params={"act": "cancel", name: moment.format(inside)})
        assert taken.status_code == 200
    query = f"{name}={moment.format(outside)}".replace("+", "%2B")
    assert admin.post("/admin/bulk", act="cancel", query=query, jobs="1").status_code == 422


def test_pages_follow_each_other_with_the_filters(admin: Person) -> None:
    made = [admin.world.submit(prompt=f"ball {n}")["id"] for n in range(53)]
    admin.world.submit(prompt="tree")

    first = admin.get("/admin/jobs?text=ball")
    older = re.search(r'rel="next" href="([^"]+)"', first.text)
    assert older is not None
    second = admin.get("/admin/jobs" + older[1].replace("&amp;", "&"))

    assert ids_in(first.text) + ids_in(second.text) == made[::-1]
    assert 'rel="next"' not in second.text


def test_hostile_text_is_shown_as_text(admin: Person) -> None:
    world = admin.world
    made = world.client.post("/v1/keys", json={"name": HOSTILE}).json()
    job = world.client.post(
        "/generate-video",
        json={"prompt": HOSTILE, "negative_prompt": HOSTILE, "metadata": {"scene": HOSTILE}},
        headers={"Authorization": f"Bearer {made['secret']}"},
    ).json()

    for path in (
        "/admin",
        "/admin/jobs",
        f"/admin/jobs/{job['id']}",
        f"/admin/jobs?text={HOSTILE}",
    ):
        text = admin.get(path).text
        assert ESCAPED in text, path
        assert "<script>alert" not in text
        assert "<img src=x" not in text


def test_the_page_of_a_job_shows_its_history(admin: Person) -> None:
    world = admin.world
    world.submit(webhook_url="https://hooks.test/path?token=s3cr3t")
    job_id = world.finish(generate=900)

    text = admin.get(f"/admin/jobs/{job_id}").text

    assert "attempt 1 claimed by w1" in text
    assert "attempt 1 begun" in text
    assert "<video" in text
    assert "https://hooks.test/path?…" in text
    assert "s3cr3t" not in text
    assert re.search(r'class="legend"><span><i class="key queue"></i>queue .*key start', text)
    assert "hx-trigger" not in text  # it is final: nothing is polled


def test_a_long_prompt_is_shown_whole_and_metadata_by_itself(admin: Person) -> None:
    prompt = " ".join(f"word{n}" for n in range(300))
    job = admin.world.submit(prompt=prompt, metadata={"cost": "none at all"})

    text = admin.get(f"/admin/jobs/{job['id']}").text

    assert f"<dt>prompt</dt><dd>{prompt}</dd>" in text
    assert "none at all" in text.partition("<h3>Metadata</h3>")[2]


def test_a_job_that_runs_is_polled_until_it_is_final(admin: Person) -> None:
    job = admin.world.submit()
    live = f"/admin/jobs/{job['id']}/live"
    assert f'hx-get="{live}"' in admin.get(live).text
    admin.world.begin()
    assert f'hx-get="{live}"' in admin.get(live).text

    admin.post(f"/admin/jobs/{job['id']}/cancel")
    assert "Canceling…" in admin.get(live).text


def test_each_figure_that_counts_jobs_links_to_as_many(admin: Person) -> None:
    world = admin.world
    for _ in range(3):
        world.submit()
        world.finish()
    world.submit()
    ticket, begun = world.begin()
    failure = {"kind": "user", "code": "media_format", "message": "no"}
    world.report(ticket, "fail", fence=begun["fence"], failure=failure)
    for job in (world.submit(), world.submit()):
        world.client.post(f"/v1/jobs/{job['id']}/cancel")
    world.submit()
    world.begin()
    world.submit()

    def counts() -> list[tuple[str, int]]:
        """The links of the overview to lists of jobs, with the number in the text of each; but for
        a time and a share."""
        links = re.findall(
            r'<a[^>]* href="(/admin/jobs\?[^"]*)"[^>]*>(.*?)</a>',
            admin.get("/admin").text,
            re.DOTALL,
        )
        texts = [(url, re.sub(r"<[^>]+>", " ", text).split()) for url, text in links]
        return [
            (html.unescape(url), int(number))
            for url, words in texts
            if not {"Oldest", "rate"} & set(words)
            for number in [word for word in words if word.isdigit()][:1]
        ]

    # Jobs count from the next whole second on.
    until(lambda: [number for url, number in counts() if "state=canceled" in url] == [2])
    figures = counts()

    assert sorted(number for _, number in figures) == [1, 1, 1, 1, 1, 2, 3, 4]
    for url, number in figures:
        assert len(listed(admin, url.partition("?")[2])) == number, url


def test_the_links_of_costs_name_their_model_or_key(admin: Person) -> None:
    key = KeyId(admin.world.client.get("/v1/keys").json()["data"][0]["id"])
    now = admin.world.runtime.clock()
    usage = SpeechUsage(provider="elevenlabs", characters=9, usd=1.5)
    admin.world.runtime.db.write(lambda tx: keys.pay_for_speech(tx, key, usage, now)).result()

    page = html.unescape(admin.get("/admin").text)

    midnight = now.replace(hour=0, minute=0, second=0, microsecond=0, tzinfo=None).isoformat()
    ended = urlencode({"ended_from": midnight})
    assert f'href="/admin/jobs?key={key}&{ended}">$1.50</a>' in page
    assert f'href="/admin/jobs?{ended}">$1.50</a>' in page


def test_why_a_job_waits_is_said(admin: Person) -> None:
    job = admin.world.submit(model="ltx-2b")

    assert "no worker serves ltx-2b now" in admin.get(f"/admin/jobs/{job['id']}").text
    assert "no worker serves ltx-2b now" in admin.get("/admin").text


def test_what_runs_is_counted_beyond_the_end_of_the_list(
    admin: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = admin.world
    for number in range(3):
        world.submit()
        assert world.claim(worker=f"w{number}").status_code == 200
    monkeypatch.setattr(statistics, "_MAX_ATTEMPTS", 1)

    text = re.sub(r"\s+", " ", re.sub("<[^>]+>", " ", admin.get("/admin").text))
    models = admin.get("/admin/models").text

    assert "Running 3 starting or running" in text
    assert "Workers 3 of 3 busy" in text
    assert "of the 3 that run" in text
    assert ">3 running</a>" in models


def test_a_deleted_job_is_gone(admin: Person) -> None:
    admin.world.submit()
    job_id = admin.world.finish()

    assert admin.post(f"/admin/jobs/{job_id}/delete").headers["location"] == "/admin/jobs"

    assert admin.get(f"/admin/jobs/{job_id}").status_code == 404
    assert admin.world.client.get(f"/v1/jobs/{job_id}").status_code == 404


def test_a_job_that_runs_is_not_deleted(admin: Person) -> None:
    job = admin.world.submit()

    answer = admin.post(f"/admin/jobs/{job['id']}/delete")

    assert answer.status_code == 409
    assert "cancel it first" in answer.text


def test_a_viewer_sees_no_button_and_can_do_nothing(world: World, viewer: Person) -> None:
    queued = world.submit()["id"]
    page = viewer.get(f"/admin/jobs/{queued}")
    assert page.status_code == 200
    forms = re.findall(r'<form[^>]*action="([^"]+)"', page.text)
    assert forms == ["/admin/logout"]

    for act in ("cancel", "delete"):
        assert viewer.post(f"/admin/jobs/{queued}/{act}").status_code == 403
    assert world.job(queued)["status"] == "queued"


def test_a_video_that_is_no_longer_kept_is_not_asked_for(
    admin: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    admin.world.submit()
    job_id = admin.world.finish()
    runtime = admin.world.runtime
    later = runtime.clock() + timedelta(days=8)
    session = Person(admin.world)
    monkeypatch.setattr(type(runtime.clock), "__call__", lambda self: later)
    session.log_in("a-key-for-tests-a-key-for-tests")

    text = session.get(f"/admin/jobs/{job_id}").text

    assert "<video" not in text
    assert "is deleted" in text


@pytest.mark.parametrize(
    ("size", "text"), [(1, "1 byte"), (154, "154 bytes"), (64_200, "64 kB"), (3_210_000, "3.2 MB")]
)
def test_the_facts_of_a_job_are_told_as_people_read_them(
    admin: Person, size: int, text: str
) -> None:
    admin.world.submit()

    page = admin.get(f"/admin/jobs/{admin.world.finish(b'x' * size)}").text

    assert f"fps, {text} ·" in page
    assert "<dt>loop</dt><dd>no</dd>" in page
    assert "<dt>negative_prompt</dt>" not in page


def test_a_failed_job_says_why_and_how_long_each_stage_took(admin: Person) -> None:
    admin.world.submit()
    ticket, begun = admin.world.begin()
    failure = {"kind": "user", "code": "media_format", "message": "is no image"}
    told = {**failure, "stage": "load", "timings_ms": {"preprocess": 40, "load": 320}}
    admin.world.report(ticket, "fail", fence=begun["fence"], failure=told)

    page = admin.get(f"/admin/jobs/{ticket['job_id']}").text

    assert "cause: user · stage: load · attempt 1" in page
    assert "preprocess 40 ms" in page
    assert "load 320 ms" in page


def test_the_seam_of_a_loop_is_told_in_words(admin: Person) -> None:
    for seam in (None, {"difference": 3.25, "neighbours": 2.0}):
        admin.world.submit()
        text = admin.get(f"/admin/jobs/{admin.world.finish(loop_seam=seam)}").text

        words = "its last and first frames differ by 3.2 of 255 (neighbouring ones by 2.0)"
        assert (words in text) is (seam is not None)
        assert ("frames differ" in text) is (seam is not None)


def test_a_customer_whose_streams_are_all_open_does_not_stop_the_page(settings: Settings) -> None:
    with live(settings) as world:
        customer = {"Authorization": f"Bearer {world.other_key()}"}
        body = {"prompt": "a scene"}
        job = world.client.post("/generate-video", json=body, headers=customer).json()["id"]
        key_id = world.runtime.db.read(lambda tx: jobs.get(tx, job)).key_id
        slots = world.runtime.throttles.streams
        with (
            httpx.Client(base_url=world.client.base_url, timeout=60) as client,
            ExitStack() as held,
        ):
            client.post("/admin/login", data={"key": KEY})
            while held.enter_context(slots.hold(key_id)):
                pass
            with client.stream("GET", f"/admin/jobs/{job}/events") as response:
                assert response.status_code == 200
                assert any(line == "data: {}" for line in response.iter_lines())


def test_a_stream_of_changes_ends_with_the_key_of_the_session_not_with_that_of_the_job(
    settings: Settings,
) -> None:
    with live(settings) as world, ExitStack() as stack:
        made = world.client.post("/v1/keys", json={"name": "editor", "role": "admin"}).json()
        editor = {"Authorization": f"Bearer {made['secret']}"}
        bodies = {"json": {"prompt": "a scene"}, "headers": editor}
        job = world.client.post("/generate-video", **bodies).json()["id"]
        lines = []
        for secret in (KEY, made["secret"]):
            client = stack.enter_context(httpx.Client(base_url=world.client.base_url, timeout=60))
            client.post("/admin/login", data={"key": secret})
            stream = stack.enter_context(client.stream("GET", f"/admin/jobs/{job}/events"))
            lines.append(line for line in stream.iter_lines() if line.startswith("data"))
            assert next(lines[-1]) == "data: {}"
        world.client.delete(f"/v1/keys/{made['key']['id']}").raise_for_status()

        assert list(lines[1]) == []
        runtime = world.runtime
        cancel(runtime.db, runtime.workers, JobId(job), Scope(None), runtime.clock())
        assert list(lines[0])


def test_a_stream_of_changes_says_nothing_of_the_job(settings: Settings) -> None:
    with live(settings) as world:
        job_id = world.submit(prompt="a secret scene")["id"]
        client = httpx.Client(base_url=world.client.base_url, timeout=60)
        path = f"/admin/jobs/{job_id}/events"
        assert client.get(path).status_code == 303
        client.post("/admin/login", data={"key": KEY})
        with client.stream("GET", path) as response:
            lines = response.iter_lines()
            assert response.headers["Content-Type"].startswith("text/event-stream")
            first = next(line for line in lines if line.startswith("data"))
            world.client.post(f"/v1/jobs/{job_id}/cancel").raise_for_status()
            rest = list(lines)  # the stream ends by itself

        assert first == "data: {}"
        assert {line for line in rest if line and not line.startswith((":", "retry"))} == {
            "event: change",
            "data: {}",
        }
        assert client.get(path).status_code == 204
        assert client.get("/admin/jobs/job_0/events").status_code == 404
        client.close()
