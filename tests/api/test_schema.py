"""Random requests made from the schema find no 5xx and no undocumented answer."""

from contextlib import suppress
from dataclasses import replace
from datetime import timedelta
from typing import Any, get_args

import pytest
import schemathesis
from hypothesis import HealthCheck, given, reject, settings
from hypothesis import strategies as st
from hypothesis.errors import Unsatisfiable
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from service.api.openapi import Audience
from tests.api.world import KEY, World
from tests.contract.openapi import document

pytestmark = pytest.mark.slow

CHECKS = (
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
)


@st.composite
def drawn(draw: st.DrawFn, strategy: st.SearchStrategy[Any]) -> Any:
    """A case of `strategy`, without those that schemathesis itself cannot make.

    It checks some of its own drafts of a form by jsonschema-rs, which knows no bytes.
    """
    try:
        return draw(strategy)
    except ValueError as error:
        if "Unsupported type: 'Binary'" not in str(error):
            raise
        reject()


@pytest.mark.parametrize("audience", get_args(Audience))
@pytest.mark.parametrize("mode", [GenerationMode.POSITIVE, GenerationMode.NEGATIVE])
def test_no_request_breaks_the_service(
    world: World, mode: GenerationMode, audience: Audience
) -> None:
    schema = schemathesis.openapi.from_dict(document(audience))
    schema.app = world.client.app
    schema.config.base_url = "http://rushes.test"
    limits = replace(world.runtime.limits, max_stream=timedelta(0))  # a good stream would be heard
    world.client.app.state.runtime = replace(world.runtime, limits=limits)  # type: ignore[attr-defined]
    tried = 0

    for result in schema.get_all_operations():
        operation = result.ok()

        @settings(
            max_examples=25,
            deadline=None,
            suppress_health_check=list(HealthCheck),
            derandomize=True,
            database=None,
        )
        @given(case=drawn(operation.as_strategy(generation_mode=mode)))
        def try_out(case) -> None:  # type: ignore[no-untyped-def]
            nonlocal tried
            tried += 1
            if (case.query or {}).get("wait") in range(1, 61):
                case.query["wait"] = 0  # a good wait would be waited for
            case.headers = {
                name: value
                for name, value in (case.headers or {}).items()
                if name.lower() not in ("prefer", "authorization")
            }
            answer = case.call(session=world.client, headers={"Authorization": f"Bearer {KEY}"})
            case.validate_response(answer, checks=CHECKS)

        with suppress(Unsatisfiable):  # nothing about this one can be made wrong
            try_out()

    assert tried > {"clients": 200, "workers": 50}[audience]
