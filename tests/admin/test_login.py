"""Sessions of the admin pages: who gets one, what it is worth, and when it ends."""

import pytest
from fastapi.testclient import TestClient

from service.app import build
from service.lifecycle.sessions import LIFETIME
from service.settings import Settings
from service.store import audit
from tests.admin.pages import sections
from tests.admin.person import Person
from tests.api.world import KEY, World


def guest(world: World) -> TestClient:
    return Person(world).client


def test_every_page_leads_to_the_login_and_from_there_back(world: World) -> None:
    client = guest(world)
    asked = client.get("/admin/jobs?state=failed&text=a+b")

    assert asked.status_code == 303
    page = client.get(asked.headers["location"])
    assert page.status_code == 200
    assert 'value="/admin/jobs?state=failed&amp;text=a+b"' in page.text
    done = client.post(
        "/admin/login", data={"key": KEY, "next": "/admin/jobs?state=failed&text=a+b"}
    )
    assert done.headers["location"] == "/admin/jobs?state=failed&text=a+b"


@pytest.mark.parametrize(
    "goal", ["https://evil.test/admin", "//evil.test", "/admin/../../x y", "/\\evil.test", ""]
)
def test_a_login_leads_to_no_other_site(world: World, goal: str) -> None:
    done = guest(world).post("/admin/login", data={"key": KEY, "next": goal})

    assert done.headers["location"] == "/admin"


def test_the_cookie_is_for_this_site_alone(world: World) -> None:
    cookie = guest(world).post("/admin/login", data={"key": KEY}).headers["set-cookie"].lower()

    assert "httponly" in cookie
    assert "samesite=lax" in cookie
    assert "path=/admin" in cookie
    assert f"max-age={int(LIFETIME.total_seconds())}" in cookie
    assert "secure" not in cookie  # this service is reached without TLS
    assert KEY not in cookie


def test_behind_tls_the_cookie_is_secure_and_keeps_to_the_prefix(world: World) -> None:
    client = TestClient(world.client.app, client=("127.0.0.1", 1), follow_redirects=False)
    headers = {"X-Forwarded-Proto": "https", "X-Forwarded-Prefix": "/rushes"}

    done = client.post("/admin/login", data={"key": KEY}, headers=headers)

    assert "; secure" in done.headers["set-cookie"].lower()
    assert "path=/rushes/admin" in done.headers["set-cookie"].lower()
    assert done.headers["location"] == "/rushes/admin"


def test_a_public_url_with_tls_makes_the_cookie_secure(settings: Settings) -> None:
    known = settings.model_copy(update={"public_url": "https://video.example.com"})
    with TestClient(build(known), base_url="http://inside", follow_redirects=False) as client:
        cookie = client.post("/admin/login", data={"key": KEY}).headers["set-cookie"]

    assert "; secure" in cookie.lower()


def test_a_wrong_key_and_that_of_a_user_get_no_session(world: World) -> None:
    for secret, status in (("nonsense", 401), ("", 401), (world.other_key(), 403)):
        refused = guest(world).post("/admin/login", data={"key": secret})

        assert refused.status_code == status
        assert "set-cookie" not in refused.headers
        assert 'role="alert"' in refused.text


def test_failed_logins_are_limited(world: World) -> None:
    client = guest(world)
    for _ in range(10):
        assert client.post("/admin/login", data={"key": "guess"}).status_code == 401

    refused = client.post("/admin/login", data={"key": KEY})

    assert refused.status_code == 429
    assert "Too many failed logins" in refused.text


def behind(world: World, proxy: str = "127.0.0.1") -> TestClient:
    return TestClient(world.client.app, client=(proxy, 1), follow_redirects=False)


def logins(client: TestClient, secret: str, came_from: list[str], times: int = 1) -> list[int]:
    """The status of each; a header per text."""
    headers = [("X-Forwarded-For", text) for text in came_from]
    answers = [
        client.post("/admin/login", data={"key": secret}, headers=headers)  # type: ignore[arg-type]
        for _ in range(times)
    ]
    return [answer.status_code for answer in answers]


def test_failed_logins_behind_a_proxy_keep_out_nobody_else(world: World) -> None:
    client = behind(world)

    assert logins(client, "guess", ["203.0.113.9"], 11) == [401] * 10 + [429]

    assert logins(client, KEY, ["203.0.113.9"]) == [429]
    assert logins(client, KEY, ["198.51.100.7"]) == [303]


@pytest.mark.parametrize("came_from", [["1.1.1.{}, 203.0.113.9"], ["1.1.1.{}", "203.0.113.9"]])
def test_only_what_the_proxy_adds_counts_as_the_address(world: World, came_from: list[str]) -> None:
    client = behind(world)
    for n in range(10):
        assert logins(client, "guess", [text.format(n) for text in came_from]) == [401]

    assert logins(client, KEY, ["203.0.113.9"]) == [429]


@pytest.mark.parametrize(
    ("proxy", "came_from"),
    [("10.9.9.9", "1.1.1.{}"), ("127.0.0.1", "me{}"), ("127.0.0.1", "1.1.1.1:{}")],
    ids=["a stranger", "no address", "a port"],
)
def test_an_address_that_is_none_or_of_a_stranger_is_passed_over(
    world: World, proxy: str, came_from: str
) -> None:
    client = behind(world, proxy)
    for n in range(10):
        assert logins(client, "guess", [came_from.format(n)]) == [401]

    assert logins(client, KEY, []) == [429]


def test_a_session_ends_by_logout(admin: Person) -> None:
    token = admin.client.cookies["rushes_session"]

    assert admin.post("/admin/logout").headers["location"] == "/admin/login"

    admin.client.cookies.set("rushes_session", token, domain="rushes.test", path="/admin")
    assert admin.get("/admin").status_code == 303


def test_a_logout_needs_the_token_of_the_session(admin: Person) -> None:
    for fields in ({}, {"csrf": "x" * 64}, {"everywhere": "1"}):
        assert admin.client.post("/admin/logout", data=fields).status_code == 403

    assert admin.get("/admin").status_code == 200


def test_log_out_everywhere_ends_every_session_of_the_key(admin: Person) -> None:
    elsewhere = Person(admin.world).log_in(KEY)
    assert '<button class="quiet" name="everywhere" value="1">' in admin.get("/admin").text

    admin.post("/admin/logout", everywhere="1")
    entries = admin.world.runtime.db.read(lambda tx: audit.page(tx, size=1))
    assert [(each.act, each.number) for each in entries] == [("key.logout", 2)]

    assert elsewhere.get("/admin").status_code == 303


def test_a_session_ends_with_its_key(world: World) -> None:
    made = world.client.post("/v1/keys", json={"name": "n", "role": "viewer"}).json()
    person = Person(world).log_in(made["secret"])
    assert person.get("/admin/jobs").status_code == 200

    world.client.delete(f"/v1/keys/{made['key']['id']}")

    assert person.get("/admin/jobs").status_code == 303


def test_a_session_ends_in_time(admin: Person, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = type(admin.world.runtime.clock)
    now = admin.world.runtime.clock()
    monkeypatch.setattr(clock, "__call__", lambda self: now + LIFETIME)

    assert admin.get("/admin").status_code == 303


def test_a_part_of_a_page_is_led_to_the_login_whole(world: World) -> None:
    part = guest(world).get("/admin/now", headers={"HX-Request": "true"})

    assert part.headers["hx-redirect"] == "/admin/login"
    assert part.text == ""


def test_a_change_needs_the_token_of_the_session(admin: Person) -> None:
    job = admin.world.submit()
    path = f"/admin/jobs/{job['id']}/cancel"

    for fields in ({}, {"csrf": "x" * 64}, {"csrf": Person(admin.world).log_in(KEY).csrf}):
        assert admin.client.post(path, data=fields).status_code == 403
    assert admin.world.job(job["id"])["status"] == "queued"

    assert admin.post(path).status_code == 303
    assert admin.world.job(job["id"])["status"] == "canceled"


@pytest.mark.parametrize(
    "headers",
    [
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
        {"Origin": "http://x.test"},
    ],
    ids=["cross-site", "same-site", "origin"],
)
def test_a_form_of_another_site_changes_nothing(admin: Person, headers: dict[str, str]) -> None:
    job = admin.world.submit()

    answer = admin.client.post(
        f"/admin/jobs/{job['id']}/cancel", data={"csrf": admin.csrf}, headers=headers
    )
    login = admin.client.post("/admin/login", data={"key": KEY}, headers=headers)

    assert answer.status_code == login.status_code == 403
    assert admin.world.job(job["id"])["status"] == "queued"


@pytest.mark.parametrize("path", ["/admin/login", "/admin", "/admin/jobs", "/admin/nothing"])
def test_every_page_has_the_headers_that_keep_a_browser_safe(admin: Person, path: str) -> None:
    headers = admin.get(path).headers

    policy = headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "script-src 'self';" in policy
    assert "style-src 'self';" in policy
    assert "unsafe" not in policy
    assert headers["x-frame-options"] == "DENY"
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["cache-control"] == "no-store"


def test_no_page_has_a_script_or_a_style_of_its_own(admin: Person) -> None:
    job = admin.world.submit()
    for path in (*sections(), "/admin/login", f"/admin/jobs/{job['id']}"):
        text = admin.get(path).text
        assert "<style" not in text
        assert " style=" not in text
        assert "<script>" not in text
        assert "http://" not in text.replace("http://rushes.test", "").replace("xmlns", "")


def test_a_page_that_does_not_exist_says_so(admin: Person) -> None:
    answer = admin.get("/admin/nothing")

    assert answer.status_code == 404
    assert "<h1>Not found</h1>" in answer.text
    assert "<p>There is no page" in answer.text


def test_a_refusal_leads_back_to_where_one_came_from(admin: Person) -> None:
    from_jobs = {"Referer": "http://rushes.test/admin/jobs?model=slate"}
    path = "/admin/bulk/new?act=cancel&state=foo"
    refused = admin.get(path, headers=from_jobs)

    assert refused.status_code == 422
    assert "state: must be &#39;queued&#39;" in refused.text
    assert 'href="http://rushes.test/admin/jobs?model=slate"' in refused.text
    stranger = {"Referer": "http://evil.test/admin/jobs"}
    assert "evil" not in admin.get(path, headers=stranger).text


def test_an_unhandled_error_is_a_page_with_the_id_of_its_request(
    admin: Person, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise RuntimeError("a secret of the database")

    monkeypatch.setattr(audit, "page", fail)
    answer = admin.get("/admin/audit", headers={"X-Request-Id": "req_of_a_test"})

    assert (answer.status_code, answer.headers["x-request-id"]) == (500, "req_of_a_test")
    assert answer.headers["content-type"].startswith("text/html")
    assert "req_of_a_test" in answer.text
    assert "secret" not in answer.text
    assert [record.exc_info is not None for record in caplog.records if record.levelname == "ERROR"]
