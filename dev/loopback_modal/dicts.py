"""RPCs of Dicts; keys and values are the clients' pickled bytes."""

from __future__ import annotations

from collections.abc import AsyncIterator

from modal_proto import api_pb2 as pb

from dev.loopback_modal.cloud import Cloud, lookup
from dev.loopback_modal.named import Named
from dev.loopback_modal.rpc import Caller, Empty, rpc


class Dicts:
    def __init__(self, cloud: Cloud) -> None:
        self.named = Named(cloud, "Dict", "di")
        self.entries: dict[str, dict[bytes, bytes]] = {}

    def of(self, dict_id: str) -> dict[bytes, bytes]:
        return lookup(self.entries, dict_id, "Dict")

    @rpc
    async def dict_get_or_create(
        self, request: pb.DictGetOrCreateRequest, _: Caller
    ) -> pb.DictGetOrCreateResponse:
        dict_id = self.named.get_or_create(request)
        self.entries.setdefault(dict_id, {entry.key: entry.value for entry in request.data})
        return pb.DictGetOrCreateResponse(dict_id=dict_id, metadata=self.metadata(dict_id))

    @rpc
    async def dict_get_by_id(
        self, request: pb.DictGetByIdRequest, _: Caller
    ) -> pb.DictGetByIdResponse:
        self.of(request.dict_id)
        return pb.DictGetByIdResponse(
            dict_id=request.dict_id, metadata=self.metadata(request.dict_id)
        )

    @rpc
    async def dict_update(self, request: pb.DictUpdateRequest, _: Caller) -> pb.DictUpdateResponse:
        """Write entries; `if_not_exists` replaces none. `created`: something was written."""
        entries = self.of(request.dict_id)
        new = {u.key: u.value for u in request.updates}
        if request.if_not_exists:
            new = {key: value for key, value in new.items() if key not in entries}
        entries.update(new)
        return pb.DictUpdateResponse(created=bool(new))

    @rpc
    async def dict_get(self, request: pb.DictGetRequest, _: Caller) -> pb.DictGetResponse:
        value = self.of(request.dict_id).get(request.key)
        return pb.DictGetResponse(found=value is not None, value=value)

    @rpc
    async def dict_pop(self, request: pb.DictPopRequest, _: Caller) -> pb.DictPopResponse:
        value = self.of(request.dict_id).pop(request.key, None)
        return pb.DictPopResponse(found=value is not None, value=value)

    @rpc
    async def dict_contains(
        self, request: pb.DictContainsRequest, _: Caller
    ) -> pb.DictContainsResponse:
        return pb.DictContainsResponse(found=request.key in self.of(request.dict_id))

    @rpc
    async def dict_len(self, request: pb.DictLenRequest, _: Caller) -> pb.DictLenResponse:
        return pb.DictLenResponse(len=len(self.of(request.dict_id)))

    @rpc
    async def dict_contents(
        self, request: pb.DictContentsRequest, _: Caller
    ) -> AsyncIterator[pb.DictEntry]:
        for key, value in list(self.of(request.dict_id).items()):
            yield pb.DictEntry(
                key=key if request.keys else b"", value=value if request.values else b""
            )

    @rpc
    async def dict_clear(self, request: pb.DictClearRequest, _: Caller) -> Empty:
        self.of(request.dict_id).clear()
        return Empty()

    @rpc
    async def dict_delete(self, request: pb.DictDeleteRequest, _: Caller) -> Empty:
        self.named.forget(request.dict_id)
        return Empty()

    @rpc
    async def dict_heartbeat(self, _: pb.DictHeartbeatRequest, __: Caller) -> Empty:
        return Empty()

    @rpc
    async def dict_list(self, _: pb.DictListRequest, __: Caller) -> pb.DictListResponse:
        return pb.DictListResponse(
            dicts=[
                pb.DictListResponse.DictInfo(name=name, dict_id=i, metadata=self.metadata(i))
                for name, i in self.named.newest_first()
            ]
        )

    def metadata(self, dict_id: str) -> pb.DictMetadata:
        return pb.DictMetadata(
            name=self.named.name(dict_id), creation_info=self.named.creation(dict_id)
        )
