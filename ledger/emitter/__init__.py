"""EventEmitter: appends with group commit.

Every `emit` waits for its own durable commit; whatever queues up while commits are under way goes
into the next. No timer, so a lone writer waits for nobody. The queue is bounded: when it is full,
`emit` waits for room before it takes a place.

pending  a group that waits for its commit
batch    the groups of one commit
flight   a batch that was sent and is not answered. Where many wait there are two: while PostgreSQL works on
         one, the callers of the other are woken and encode what they emit next
repair   a task that goes on with what a flight failed to record, batch by batch, until it is confirmed or
         too late; it also makes the first connection. Nothing flies meanwhile
"""

from ledger.emitter.emitter import EventEmitter, require_emittable
from ledger.emitter.queue import EmitterLimits

__all__ = ["EmitterLimits", "EventEmitter", "require_emittable"]
