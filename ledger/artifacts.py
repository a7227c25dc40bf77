"""ArtifactStore: a tenant's bodies, content-addressed; only their references travel.

The blob is durable before the event that names it is sent: a crash leaves garbage, never a lie.
"""

from collections.abc import Awaitable, Callable, Collection
from datetime import UTC, datetime
from typing import TypeAlias
from uuid import UUID

from pydantic import ValidationError

from blobstore import BlobStore, Digest, parse_digest
from ledger.bodies.body import Body, Content, Measured, body_of
from ledger.bodies.content_types import JSON
from ledger.contract.artifact_ref import ArtifactPath, ArtifactRef
from ledger.contract.events import Event, EventType, RecordedEvent
from ledger.contract.names import shown
from ledger.emitter import EventEmitter
from ledger.errors import (
    BlobBeingCollected,
    BlobCollected,
    InvalidArtifact,
    InvalidArtifactPath,
    TenantMismatch,
)
from ledger.store.blob_fences import BlobFences, Fence

COLLECTED_TIMES_MAX = 10
FENCE_LOOKS_MAX = 150
"""With the pauses between: half a minute."""

_Emit: TypeAlias = Callable[[Event], Awaitable[RecordedEvent]]


class ArtifactStore:
    """`former_ids`: where the tenant was imported, the ids that paths recorded before may name."""

    def __init__(
        self,
        tenant_id: str,
        blobs: BlobStore,
        emitter: EventEmitter,
        fences: BlobFences,
        former_ids: Collection[str] = (),
    ) -> None:
        self._tenant_id = tenant_id
        self._former_ids = frozenset(former_ids)
        self._blobs = blobs
        self._emitter = emitter
        self._fences = fences

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
        anything is recorded, BlobBeingCollected where a sweep took the blob meanwhile and the content
        cannot be put again. `event_id`, where given, is the attempt's own: the same bytes put again under
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
        emit = self._emitter.emit if event_id is None else self._emitter.emit_derived
        recorded = await self._record(emit, event, digest, body)
        return ArtifactRef.model_validate((recorded.payload or event.payload)["ref"])

    async def get(self, ref: ArtifactRef) -> bytes:
        """The body, hashed again. Raises BlobNotFound, BlobCorrupt, TenantMismatch."""
        return await self._blobs.get(self._digest(ref))

    async def exists(self, ref: ArtifactRef) -> bool:
        """True only where the stored bytes hash to the reference's digest."""
        return await self._blobs.exists(self._digest(ref))

    async def _record(self, emit: _Emit, event: Event, digest: Digest, body: Body) -> RecordedEvent:
        """Where a sweep took the blob between its put and this event, which takes a put that was stopped for
        longer than the grace period, the event is refused, and the blob put again."""
        for _ in range(COLLECTED_TIMES_MAX):
            try:
                return await emit(event)
            except BlobCollected as refused:
                if not body.is_repeatable:
                    raise _being_collected(digest, "The stream was read and is gone") from refused
            await self._put_back(digest, body)
        raise _being_collected(digest, f"It was collected {COLLECTED_TIMES_MAX} times while it was put")

    async def _put_back(self, digest: Digest, body: Body) -> None:
        fence = await self._deleted_fence(digest)
        if fence is None:
            return  # somebody else put it back
        if await self._blobs.put(body.open()) != digest:
            raise InvalidArtifact(
                "The file was changed while it was stored", fix="Put it again; nothing was recorded"
            )
        await self._fences.lift(digest, fence)

    async def _deleted_fence(self, digest: Digest) -> Fence | None:
        for _ in range(FENCE_LOOKS_MAX):
            fence = await self._fences.standing(digest)
            if fence is None or fence.is_deleted:
                return fence
            await self._fences.pause()
        raise _being_collected(digest, "Its deletion has begun and was not heard of since")

    def _digest(self, ref: ArtifactRef) -> Digest:
        self._own(ref.path, self._former_ids)
        return parse_digest(ref.digest)

    def _own(self, path: str, also: Collection[str] = ()) -> ArtifactPath:
        try:
            parts = ArtifactPath.parse(path)
        except ValueError as problem:
            raise InvalidArtifactPath(
                f"{shown(path)} is not an artifact path: {problem}",
                expected=f"storage/{self._tenant_id}/{{run_id}}/{{step}}/{{name}}",
                fix="Correct the path; nothing was read or written",
            ) from None
        if parts.tenant_id != self._tenant_id and parts.tenant_id not in also:
            raise TenantMismatch(
                "The artifact path names another tenant",
                expected=f"storage/{self._tenant_id}/…",
                found=f"storage/{parts.tenant_id}/…",
                fix="Use the artifacts of its own tenant; nothing was read or written",
            )
        return parts


def _being_collected(digest: Digest, problem: str) -> BlobBeingCollected:
    return BlobBeingCollected(
        f"Blob {digest} was collected as garbage before its artifact.stored was recorded. {problem}",
        fix="Put the artifact again; where that does not help, `daicho blob gc` finishes a sweep that died",
    )


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
