"""The API's descriptions as documents: what is committed, validated and generated from."""

import json
from typing import Any

from service.api.openapi import Audience, describe
from service.app import DEFAULT_URL, build
from service.settings import Settings


def document(audience: Audience) -> dict[str, Any]:
    """Answers the document; that for clients a service also sends at `/openapi.json`."""
    return describe(build(Settings(_env_file=None)), audience, DEFAULT_URL)


def as_json(audience: Audience) -> str:
    return json.dumps(document(audience), indent=2, ensure_ascii=False) + "\n"
