"""ArtifactStore: a tenant's bodies, content-addressed; only their references travel.

The blob is durable before the event that names it is sent: a crash leaves garbage, never a lie.
"""

from datetime import UTC, datetime
from uuid import UUID

from pydantic import ValidationError

from blobstore import BlobStore, Digest, parse_digest
from ledger.bodies.body import Content, Measured, body_of
from ledger.bodies.content_types import JSON
from ledger.contract.artifact_ref import ArtifactPath, ArtifactRef
from ledger.contract.events import Event, EventType
from ledger.contract.names import shown
from ledger.emitter import EventEmitter
from ledger.errors import InvalidArtifact, InvalidArtifactPath, TenantMismatch


class ArtifactStore:
    def __init__(self, tenant_id: str, blobs: BlobStore, emitter: EventEmitter) -> None:
        self._tenant_id = tenant_id
        self._blobs = blobs
        self._emitter = emitter

    async def put(
        self,
        content: Content,
        path: str,
        content_type: str | None = JSON,
        *,
        attempt: int | None = None,
        event_id: UUID | None = None,
    ) -> ArtifactRef:
        """Store `content` and append `artifact.stored` to the run that `path` names.

        `content` is bytes; str, stored as UTF-8; a Path or an async iterator of bytes, of any length, read a
        few MiB at a time; or a pydantic model or JSON value, stored as canonical JSON. `path` is
        `storage/{tenant_id}/{run_id}/{step}/{name}`. `content_type` None lets the name's extension say, or
        else the kind of content. Raises InvalidArtifactPath, TenantMismatch or InvalidArtifact before
        anything is recorded. `event_id`, where given, is the attempt's own: the same bytes put again under
        it return the first reference.
        """
        parts = self._own(path)
        body = body_of(content, parts.name, content_type)
        reference = _reference(path, body.content_type)
        measured = Measured(body.open())
        digest = await self._blobs.put(measured.stored)
        ref = reference.model_copy(update={"digest": digest, "size_bytes": measured.size_bytes})
        event = Event(
            event_type=EventType.ARTIFACT_STORED,
            tenant_id=self._tenant_id,
            run_id=parts.run_id,
            step_id=parts.step_id,
            attempt=attempt,
            payload={"name": parts.name, "ref": ref},
            **({} if event_id is None else {"event_id": event_id}),
        )
        if event_id is None:
            await self._emitter.emit(event)
            return ref
        recorded = await self._emitter.emit_derived(event)
        return ArtifactRef.model_validate((recorded.payload or event.payload)["ref"])

    async def get(self, ref: ArtifactRef) -> bytes:
        """The body, hashed again. Raises BlobNotFound, BlobCorrupt, TenantMismatch."""
        return await self._blobs.get(self._digest(ref))

    async def exists(self, ref: ArtifactRef) -> bool:
        """True only where the stored bytes hash to the reference's digest."""
        return await self._blobs.exists(self._digest(ref))

    def _digest(self, ref: ArtifactRef) -> Digest:
        self._own(ref.path)
        return parse_digest(ref.digest)

    def _own(self, path: str) -> ArtifactPath:
        try:
            parts = ArtifactPath.parse(path)
        except ValueError as problem:
            raise InvalidArtifactPath(
                f"{shown(path)} is not an artifact path: {problem}",
                expected=f"storage/{self._tenant_id}/{{run_id}}/{{step}}/{{name}}",
                fix="Correct the path; nothing was read or written",
            ) from None
        if parts.tenant_id != self._tenant_id:
            raise TenantMismatch(
                "The artifact path names another tenant",
                expected=f"storage/{self._tenant_id}/…",
                found=f"storage/{parts.tenant_id}/…",
                fix="Use the artifacts of its own tenant; nothing was read or written",
            )
        return parts


def _reference(path: str, content_type: str) -> ArtifactRef:
    """The reference, checked before the body is written; its digest and size are not known yet."""
    try:
        return ArtifactRef(
            path=path,
            digest="0" * 64,
            content_type=content_type,
            size_bytes=0,
            created_at=datetime.now(UTC),
        )
    except ValidationError as error:
        [first, *_] = error.errors(include_url=False, include_input=False)
        raise InvalidArtifact(
            f"The artifact's {first['loc'][0]} is not valid: {first['msg']}",
            expected="a content type of 1 to 255 printable characters",
            fix="Correct it; nothing was written",
        ) from None
