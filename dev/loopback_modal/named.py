"""Names of objects: Volumes, Secrets, Dicts."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Any

from grpclib import GRPCError, Status
from modal_proto import api_pb2 as pb

from dev.loopback_modal.cloud import Cloud


@dataclass
class Named:
    """The names of one kind of object, all in the only environment."""

    cloud: Cloud
    kind: str
    prefix: str
    ids: dict[str, str] = field(default_factory=dict)
    created_at: dict[str, float] = field(default_factory=dict)

    def get_or_create(self, request: Any) -> str:
        """Return the id for a GetOrCreate request, or raise Modal's error."""
        name, how = request.deployment_name, request.object_creation_type
        if name in self.ids:
            if how == pb.OBJECT_CREATION_TYPE_CREATE_FAIL_IF_EXISTS:
                raise GRPCError(Status.ALREADY_EXISTS, f"{self.kind} '{name}' already exists")
            return self.ids[name]
        if name and how == pb.OBJECT_CREATION_TYPE_UNSPECIFIED:
            message = f"{self.kind} '{name}' not found in environment 'main'"
            raise GRPCError(Status.NOT_FOUND, message)
        object_id = self.cloud.new_id(self.prefix)
        self.created_at[object_id] = time.time()
        if name:
            self.ids[name] = object_id
        return object_id

    def name(self, object_id: str) -> str:
        return next((name for name, id_ in self.ids.items() if id_ == object_id), "")

    def creation(self, object_id: str) -> pb.CreationInfo:
        return pb.CreationInfo(created_at=self.created_at[object_id], created_by="loopback")

    def forget(self, object_id: str) -> None:
        self.ids.pop(self.name(object_id), None)

    def newest_first(self) -> list[tuple[str, str]]:
        """Return names with their ids."""
        return sorted(self.ids.items(), key=lambda item: -self.created_at[item[1]])
