"""Typed errors of the ledger. All derive from `DaichoError`; `retryable` tells a machine whether
the same call may be tried again, and the message says so to people."""

from blobstore.errors import DaichoError

__all__ = [
    "BlobBeingCollected",
    "BlobCollected",
    "CollectionRunning",
    "CollectionStopped",
    "DaichoError",
    "EmbeddedServerError",
    "EmitterClosed",
    "ErasureRefused",
    "EventConflict",
    "InvalidArtifact",
    "InvalidArtifactPath",
    "InvalidErasure",
    "InvalidEvent",
    "InvalidName",
    "InvalidProjection",
    "InvalidPromptPack",
    "LedgerClosed",
    "ListingOutOfOrder",
    "MigrationNeeded",
    "PositionNotReached",
    "ProjectionBehind",
    "ProjectionNotFound",
    "ProjectionNotLoaded",
    "ProjectionStopped",
    "ProjectionTablesDiffer",
    "PromptPackConflict",
    "PromptPackErased",
    "PromptPackNotFound",
    "PromptPackRetired",
    "RebuildRunning",
    "RunNotFound",
    "RunNotStarted",
    "SettingsError",
    "SortingFailed",
    "StoreError",
    "StoreUnavailable",
    "TenantConflict",
    "TenantMismatch",
    "TenantNotFound",
    "TenantSuspended",
    "VersionConflict",
]


class SettingsError(DaichoError, ValueError):
    """A setting is missing, malformed or contradicts another."""


class EmbeddedServerError(DaichoError):
    """The embedded PostgreSQL could not be made or started."""


class StoreUnavailable(DaichoError):
    """PostgreSQL is configured and out of reach, or refuses work for the moment. An append that
    ends with this error may have been recorded; repeating it with the same event ids is safe."""

    retryable = True


class StoreError(DaichoError):
    """PostgreSQL answered with an error that trying again will not cure."""


class MigrationNeeded(DaichoError):
    """A database is at another schema revision than this code."""


class InvalidName(DaichoError, ValueError):
    """A tenant, run, step or pack id that is not well formed."""


class InvalidEvent(DaichoError, ValueError):
    """An event's payload is malformed; nothing was sent."""


class BlobCollected(DaichoError):
    """The blob that an artifact.stored refers to was collected as garbage since it was put; the event was not
    recorded. Putting the content again makes it whole."""


class BlobBeingCollected(DaichoError):
    """The same, and the content could not be put again at once: it is a stream that was read, or the sweep
    has not come to its end."""

    retryable = True


class CollectionRunning(DaichoError):
    """Another process collects this tenant's garbage."""

    retryable = True


class CollectionStopped(DaichoError):
    """Collecting garbage ended before its time; what was deleted was garbage, and was recorded."""

    retryable = True


class ListingOutOfOrder(DaichoError):
    """A blob store listed what it has in another order than that of digests."""


class SortingFailed(DaichoError):
    """There is no room for the temporary files in which references are sorted."""


class InvalidArtifact(InvalidEvent):
    """A body or a content type that cannot be an artifact's; nothing was recorded."""


class InvalidErasure(DaichoError, ValueError):
    """An erasure that does not say by whom it is and why; nothing was erased."""


class ErasureRefused(DaichoError):
    """The event is one whose payload is never erased; nothing was erased."""


class EventConflict(DaichoError):
    """An event with this id is recorded already, with other content. Nothing was written."""


class VersionConflict(DaichoError):
    """The stream is not at the version the caller expected. Nothing was written."""


class EmitterClosed(DaichoError):
    """The emitter was closed; the event was not sent."""


class LedgerClosed(DaichoError):
    """The ledger was closed; open it again."""


class TenantNotFound(DaichoError, LookupError):
    """No tenant with this id is in the catalogue."""


class TenantSuspended(DaichoError):
    """The tenant exists and is not accepting work."""


class TenantConflict(DaichoError):
    """A tenant with this id exists and differs from what was asked for."""


class TenantMismatch(DaichoError):
    """Something of one tenant was handed to another; nothing was read or written."""


class InvalidArtifactPath(DaichoError, ValueError):
    """An artifact path that is not `storage/{tenant_id}/{run_id}/{step}/{name}`."""


class RunNotFound(DaichoError, LookupError):
    """The tenant has recorded no event of this run."""


class PositionNotReached(DaichoError, ValueError):
    """The position asked for lies beyond the head, or before the run's first event."""


class RunNotStarted(DaichoError):
    """No `run.started` is recorded for this run, so no step of it may begin."""


class PromptPackNotFound(DaichoError, LookupError):
    """No prompt pack with this id, or no such version of it, is built in or published for the tenant."""


class InvalidPromptPack(DaichoError, ValueError):
    """Prompts that cannot be a version of a pack; nothing was recorded."""


class PromptPackRetired(DaichoError):
    """The pack was retired: no run may start with it, and nothing more is decided about it."""


class PromptPackConflict(VersionConflict):
    """The id is taken, or somebody else decided about the pack first. Nothing was recorded."""


class PromptPackErased(DaichoError, LookupError):
    """The prompts of this version were erased from the log."""


class ProjectionBehind(DaichoError):
    """The tables have not reached the position in the time given."""

    retryable = True


class RebuildRunning(DaichoError):
    """Another rebuild of this tenant is under way."""

    retryable = True


class ProjectionStopped(DaichoError):
    """The projector met an event it could not project and stopped there."""


class InvalidProjection(DaichoError, ValueError):
    """A projection's class that cannot work: its name, its tables or their columns."""


class ProjectionNotFound(DaichoError, LookupError):
    """No projection of this name is built in or installed."""


class ProjectionNotLoaded(DaichoError):
    """An installed package registers a projection that cannot be loaded."""


class ProjectionTablesDiffer(DaichoError):
    """The tables of a projection are there and not as its row classes say, or partly missing."""


class ProjectionOutdated(DaichoError, RuntimeError):
    """The tables of a projection were filled by another version of it."""
