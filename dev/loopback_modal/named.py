"""Objects that are found by name: Volumes, Secrets, Dicts."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Any

from grpclib import GRPCError, Status
from modal_proto import api_pb2 as pb

from dev.loopback_modal.cloud import Cloud


@dataclass
class Named:
    """The names of one kind of object. Each one is in the only environment there is."""

    cloud: Cloud
    kind: str
    prefix: str
    ids: dict[str, str] = field(default_factory=dict)
    created: dict[str, float] = field(default_factory=dict)

    def get_or_create(self, request: Any) -> str:
        """The id for a GetOrCreate request, or the error that Modal answers it with."""
        name, how = request.deployment_name, request.object_creation_type
        if name in self.ids:
            if how == pb.OBJECT_CREATION_TYPE_CREATE_FAIL_IF_EXISTS:
                raise GRPCError(Status.ALREADY_EXISTS, f"{self.kind} '{name}' already exists")
            return self.ids[name]
        if name and how == pb.OBJECT_CREATION_TYPE_UNSPECIFIED:
            said = f"{self.kind} '{name}' not found in environment 'main'"
            raise GRPCError(Status.NOT_FOUND, said)
        object_id = self.cloud.new_id(self.prefix)
        self.created[object_id] = time.time()
        if name:
            self.ids[name] = object_id
        return object_id

    def name(self, object_id: str) -> str:
        return next((name for name, known in self.ids.items() if known == object_id), "")

    def creation(self, object_id: str) -> pb.CreationInfo:
        return pb.CreationInfo(created_at=self.created[object_id], created_by="loopback")

    def forget(self, object_id: str) -> None:
        self.ids.pop(self.name(object_id), None)

    def newest_first(self) -> list[tuple[str, str]]:
        """Names with their ids."""
        return sorted(self.ids.items(), key=lambda item: -self.created[item[1]])
