"""Random requests made from the schema find no 5xx and no undocumented answer."""

import pytest
import schemathesis
from hypothesis import HealthCheck, settings
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from tests.api.world import KEY, World

pytestmark = pytest.mark.slow

CHECKS = (
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
)


@pytest.fixture
def api(world: World):  # type: ignore[no-untyped-def]
    return schemathesis.openapi.from_asgi("/openapi.json", world.client.app)


schema = schemathesis.pytest.from_fixture("api")


@schema.parametrize()
@settings(
    max_examples=40,
    deadline=None,
    suppress_health_check=list(HealthCheck),
    derandomize=True,
)
def test_no_request_breaks_the_service(case, world: World) -> None:  # type: ignore[no-untyped-def]
    headers = {"Authorization": f"Bearer {KEY}"}
    if "wait" in (case.query or {}):
        case.query["wait"] = 0 if isinstance(case.query["wait"], int) else case.query["wait"]

    case.call_and_validate(headers=headers, checks=CHECKS)
