"""Typed errors of the ledger. All derive from `DaichoError`; `retryable` tells a machine whether
the same call may be tried again, and the message says so to people."""

from collections.abc import Sequence

from blobstore.errors import DaichoError as DaichoError  # the base of all, here too


class SettingsError(DaichoError, ValueError):
    """A setting is missing, malformed or contradicts another."""


class EmbeddedServerError(DaichoError):
    """The embedded PostgreSQL could not be made or started."""


class StoreUnavailable(DaichoError):
    """PostgreSQL is configured and out of reach, or refuses work for the moment. An append that
    ends with this error may have been recorded; repeating it with the same event ids is safe."""

    retryable = True


class ConnectionLimitReached(StoreUnavailable):
    """All connections this process may have to a server are at work, and none came free in time."""


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


class CheckNotResumable(DaichoError, ValueError):
    """A file that was to keep, or has kept, how far a check of blobs has come, and cannot."""


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


class ServerNotFound(DaichoError, LookupError):
    """No database server with this name is in the catalogue."""


class ServerConflict(DaichoError):
    """A database server with this name or at this address is in the catalogue already."""


class NoServerForTenant(DaichoError):
    """No database server takes the new tenant: the one named, or none of all. Nothing was made."""


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


class InvalidPoint(DaichoError, ValueError):
    """What should name a position, a version or a time does not."""


class InvalidSearch(DaichoError, ValueError):
    """What is sought can stand in no event."""


class StepNotFound(DaichoError, LookupError):
    """The run has recorded nothing of this step."""


class ArtifactNotFound(DaichoError, LookupError):
    """The tenant has recorded no artifact with this digest or path, or several that begin like it."""


class TableNotFound(DaichoError, LookupError):
    """No projection table has this name."""


class AnswerTooLarge(DaichoError):
    """The answer would take more than its stated bound."""


class FolderRefused(DaichoError):
    """A folder to write into is not empty, cannot be made, or is no folder; nothing was written."""


class RunNotStarted(DaichoError):
    """No `run.started` is recorded for this run, so no step of it may begin."""


class PromptPackNotFound(DaichoError, LookupError):
    """No prompt pack with this id, or no such version of it, is built in or published for the tenant."""


class InvalidPromptPack(DaichoError, ValueError):
    """Prompts that cannot be a version of a pack; nothing was recorded."""


class PromptPackUnchanged(InvalidPromptPack):
    """The newest version says the same already; nothing was recorded."""


class PromptNotFound(DaichoError, KeyError):
    """The pack has no prompt of this name."""


class PromptVariablesDiffer(DaichoError, ValueError):
    """The variables given are not those of the prompt, which was not rendered. `missing` and `surplus` name
    them, in order."""

    def __init__(
        self,
        problem: str,
        *,
        missing: Sequence[str] = (),
        surplus: Sequence[str] = (),
        fix: str = "Give each variable of the prompt, and nothing else",
    ) -> None:
        super().__init__(problem, fix=fix)
        self.missing = tuple(missing)
        self.surplus = tuple(surplus)


class PromptPackRetired(DaichoError):
    """The pack was retired: no run may start with it, and nothing more is decided about it."""


class PromptPackConflict(VersionConflict):
    """The id is taken, or somebody else decided about the pack first. Nothing was recorded."""


class PromptPackErased(DaichoError, LookupError):
    """The prompts of this version were erased from the log."""


class LlmNotFound(DaichoError, LookupError):
    """No provider, model or default of this name is in the catalogue."""


class LlmInUse(DaichoError):
    """Something in the catalogue still names the provider or model. Nothing was changed."""


class NoModelForStep(DaichoError, LookupError):
    """The catalogue has no default model for this step, and no other is chosen."""


class LlmKeyMissing(DaichoError):
    """The environment variable that holds a provider's key is unset or empty."""


class PriceUnavailable(StoreUnavailable):
    """The LLM catalogue is out of reach, so the cost of what an attempt used cannot be recorded."""


class InvalidUsage(DaichoError, ValueError):
    """What was noted as used does not add up with what this attempt noted before."""


class ProjectionBehind(DaichoError):
    """The tables have not reached the position in the time given."""

    retryable = True


class RebuildRunning(DaichoError):
    """Another rebuild of this tenant is under way."""

    retryable = True


class RebuildBlocked(DaichoError):
    """Other transactions kept the tables in use until the rebuild gave up. The tables are as they were."""

    retryable = True


class WorkerLost(DaichoError):
    """A process that worked for a rebuild or a verification ended unasked."""

    retryable = True


class ProjectionStopped(DaichoError):
    """The projector met an event it could not project and stopped there."""


class InvalidFilter(DaichoError, ValueError):
    """A listing was asked for by something that no run can have."""


class InvalidProjection(DaichoError, ValueError):
    """A projection's class that cannot work: its name, its tables or their columns."""


class ProjectionNotFound(DaichoError, LookupError):
    """No projection of this name is built in or installed."""


class ProjectionNotLoaded(DaichoError):
    """An installed package registers a projection that cannot be loaded."""


class ProjectionTablesDiffer(DaichoError):
    """The tables of a projection are there and not as its row classes say, or partly missing."""


class TenantMoving(StoreUnavailable):
    """The tenant is being moved to another server: whoever emits waits, and goes on there."""


class TenantBusy(DaichoError):
    """Something else is under way with this tenant; nothing was changed."""


class TenantKept(DaichoError):
    """A tenant is not deleted before it was exported as it is now, or its owner said that it need not be."""


class TenantCopyDiffers(DaichoError):
    """A tenant's copy is not equal to what it was copied from; the copy is not used."""


class ArchiveExists(DaichoError):
    """There is a file where an archive was to be written; it is left as it is."""


class ArchiveUnwritable(DaichoError):
    """An archive could not be written to its end; no file of its name is there."""


class ArchiveUnreadable(DaichoError, ValueError):
    """A file that is no archive of a tenant, or one of a format that this version does not know."""


class ArchiveDamaged(DaichoError):
    """An archive that is not as it was exported; nothing of it is used."""


class ExtraMissing(DaichoError):
    """What was asked for needs a package that daicho brings only as an extra."""


class ProjectionOutdated(DaichoError, RuntimeError):
    """The tables of a projection were filled by another version of it."""
