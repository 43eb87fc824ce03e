"""RPCs of Secrets: named ones, and those that come with a Function."""

from __future__ import annotations

from collections.abc import Iterable

from grpclib import GRPCError, Status
from modal_proto import api_pb2 as pb

from dev.loopback_modal.cloud import Cloud, lookup
from dev.loopback_modal.named import Named
from dev.loopback_modal.rpc import Caller, Empty, rpc


class Secrets:
    def __init__(self, cloud: Cloud) -> None:
        self.named = Named(cloud, "Secret", "st")
        self.values: dict[str, dict[str, str]] = {}

    def environment(self, secret_ids: Iterable[str]) -> dict[str, str]:
        """Return the variables of these Secrets; a later one wins."""
        variables: dict[str, str] = {}
        for secret_id in secret_ids:
            variables |= self.values[secret_id]
        return variables

    @rpc
    async def secret_get_or_create(
        self, request: pb.SecretGetOrCreateRequest, _: Caller
    ) -> pb.SecretGetOrCreateResponse:
        secret_id = self.named.get_or_create(request)
        values = self.values.setdefault(secret_id, {})
        if request.object_creation_type == pb.OBJECT_CREATION_TYPE_CREATE_OVERWRITE_IF_EXISTS:
            values.clear()
        values.update(request.env_dict)
        absent = [key for key in request.required_keys if key not in values]
        if absent:
            message = f"Secret '{request.deployment_name}' is missing key(s): {', '.join(absent)}"
            raise GRPCError(Status.NOT_FOUND, message)
        return pb.SecretGetOrCreateResponse(secret_id=secret_id, metadata=self.metadata(secret_id))

    @rpc
    async def secret_get_info(
        self, request: pb.SecretGetInfoRequest, _: Caller
    ) -> pb.SecretGetInfoResponse:
        lookup(self.values, request.secret_id, "Secret")
        return pb.SecretGetInfoResponse(metadata=self.metadata(request.secret_id))

    @rpc
    async def secret_update(self, request: pb.SecretUpdateRequest, _: Caller) -> Empty:
        values = lookup(self.values, request.secret_id, "Secret")
        for update in request.updates:
            if update.HasField("value"):
                values[update.key] = update.value
            else:
                values.pop(update.key, None)
        return Empty()

    @rpc
    async def secret_delete(self, request: pb.SecretDeleteRequest, _: Caller) -> Empty:
        self.named.forget(request.secret_id)
        return Empty()

    @rpc
    async def secret_list(self, _: pb.SecretListRequest, __: Caller) -> pb.SecretListResponse:
        return pb.SecretListResponse(
            items=[
                pb.SecretListItem(label=name, secret_id=i, metadata=self.metadata(i))
                for name, i in self.named.newest_first()
            ],
            environment_name="main",
        )

    def metadata(self, secret_id: str) -> pb.SecretMetadata:
        return pb.SecretMetadata(
            name=self.named.name(secret_id),
            creation_info=self.named.creation(secret_id),
            keys=sorted(self.values[secret_id]),
            environment_name="main",
        )
