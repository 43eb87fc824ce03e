"""API keys: make, list, revoke. For admin keys only."""

from typing import Annotated

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, Field

from service.api.auth import AdminDep
from service.api.problems import documented
from service.api.schemas import KeyList, KeyOut, NewKeyOut
from service.domain import ids
from service.domain.errors import NotFound
from service.domain.job import KeyId
from service.domain.key import new_key, new_secret
from service.domain.request import Text
from service.lifecycle.access import revoke
from service.log import Log
from service.store import keys

log = Log(__name__)
router = APIRouter(prefix="/v1/keys", tags=["keys"])


class KeyAsk(BaseModel):
    """A new key."""

    model_config = ConfigDict(extra="forbid", strict=True)

    name: Annotated[Text, Field(min_length=1, max_length=120)]
    admin: bool = False


@router.post("", status_code=201, responses=documented(400, 401, 403, 413, 422, 429, 503))
async def create_key(ask: KeyAsk, visit: AdminDep) -> NewKeyOut:
    """Make a key. Its secret is in this answer and nowhere else."""
    secret = new_secret()
    key = new_key(secret, name=ask.name, admin=ask.admin, now=visit.parts.clock())
    await visit.parts.write(lambda tx: keys.insert(tx, key))
    log.info("key made", key=key.id, admin=key.admin)
    return NewKeyOut(key=KeyOut.from_domain(key), secret=secret)


@router.get("", responses=documented(401, 403, 429))
async def list_keys(visit: AdminDep) -> KeyList:
    """All keys, without their secrets."""
    return KeyList(data=[KeyOut.from_domain(key) for key in await visit.parts.read(keys.every)])


@router.delete("/{key_id}", responses=documented(401, 403, 404, 409, 429, 503))
async def revoke_key(key_id: str, visit: AdminDep) -> KeyOut:
    """Revoke a key: the next request with it is refused. Its jobs stay."""
    if not ids.is_id("key", key_id):
        raise NotFound(f"no key {key_id[:64]}")
    parts = visit.parts
    key = await parts.write(lambda tx: revoke(tx, KeyId(key_id), parts.clock()))
    log.info("key revoked", key=key.id)
    return KeyOut.from_domain(key)
