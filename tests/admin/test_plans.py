"""No page and no list reads all of a table that grows with the jobs."""

import pytest
import sqlalchemy as sa

from tests.admin.pages import templates
from tests.admin.person import Person
from tests.admin.test_acts import start_bulk
from tests.api.world import World
from tests.store.plans import plans

ENDPOINT = "wep_06h0cqct31vp78ap2nmi51uars"
PATHS = (
    *(path for path in templates() if path != "/admin/bulk/new"),  # which needs an act
    *("/admin?window=30d", "/admin?window=30d&model=slate"),
    *("/admin/jobs?state=queued", "/admin/jobs?state=failed&state=canceled"),
    *("/admin/jobs?model=slate", "/admin/jobs?kind=avatar", "/admin/jobs?error=timeout"),
    *("/admin/jobs?label=a%3D1", "/admin/jobs?text=ball", "/admin/jobs?text={job_id}"),
    *("/admin/jobs?key={key}", "/admin/jobs?key={key}&state=failed"),
    *("/admin/jobs?created_from=2026-11-01T00:00", "/admin/jobs?ended_from=2026-11-01T00:00"),
    *("/admin/webhooks?state=dead", "/admin/webhooks?endpoint={endpoint}"),
    "/admin/bulk/new?act=cancel&state=queued",
    *("/v1/jobs", "/v1/jobs?status=failed", "/v1/jobs?metadata[a]=1", "/v1/jobs?prompt=ball"),
    *("/v1/jobs?ended_after=2026-11-01T00:00:00Z", "/v1/jobs/{job_id}", "/v1/usage"),
    *("/v1/webhook-deliveries", "/v1/webhook-deliveries?status=dead"),
    *("/v1/webhook-deliveries?job_id={job_id}", "/v1/models", "/health", "/readyz"),
)


@pytest.mark.parametrize("path", PATHS)
def test_no_page_or_list_reads_all_of_a_large_table(world: World, admin: Person, path: str) -> None:
    values = {"job_id": world.submit(metadata={"a": "1"})["id"], "kind": "video"}
    if path.endswith("/retry"):  # of a final job
        world.finish()
    if "{bulk_id}" in path:
        values["bulk_id"] = start_bulk(admin, "cancel", "state=queued")
    key = world.client.get("/v1/keys").json()["data"][0]["id"]
    client = world.client if path.startswith("/v1") else admin
    with plans() as found:
        answer = client.get(path.format(**values, key=key, endpoint=ENDPOINT))
    # Unhealthy, as there is no worker; /admin/new leads to the form of the default model.
    assert answer.status_code in (200, 303, 503), answer.text

    assert found or path in ("/v1/models", "/v1/jobs/{job_id}")
    assert not [(line, plan.statement) for plan in found for line in plan.scans()]


def test_a_scan_would_be_seen(world: World) -> None:
    with plans() as found:
        world.runtime.db.read(lambda tx: tx.execute(sa.text("SELECT * FROM jobs")).all())

    assert [plan.scans() for plan in found] == [["SCAN jobs"]]
