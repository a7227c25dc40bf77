"""What an event says about blobs: its references, and the digests it mentions, which are more."""

from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger import Event
from ledger.contract import ArtifactRef
from ledger.store.codec import encode_payload
from ledger.upkeep.references import mentions, references
from tests.contract.strategies import digests, events


def refs_in(value: Any) -> set[tuple[str, int]]:
    """By the models: every ArtifactRef that was put into a payload."""
    if isinstance(value, ArtifactRef):
        return {(value.digest, value.size_bytes)}
    if hasattr(value, "model_dump"):
        return refs_in(value.model_dump())
    if isinstance(value, dict):
        is_ref = {"path", "digest", "size_bytes"} <= value.keys()
        own = {(value["digest"], value["size_bytes"])} if is_ref else set()
        return own.union(*map(refs_in, value.values()))
    if isinstance(value, list | tuple):
        return set().union(*map(refs_in, value))
    return set()


@given(events())
def test_every_reference_of_any_event_is_found_and_is_a_mention(event: Event) -> None:
    data = encode_payload(event)
    found = set(references(event.event_type.value, data))
    assert found == refs_in(event.payload)
    assert {digest for digest, _ in found} <= set(mentions(data))


@given(st.binary(max_size=200), digests, st.binary(max_size=200))
def test_a_digest_is_mentioned_where_its_digits_stand_in_any_bytes(
    before: bytes, digest: str, after: bytes
) -> None:
    assert digest in set(mentions(before + digest.encode() + after))


@given(st.binary(max_size=400))
def test_a_mention_is_what_a_search_for_its_digits_finds(data: bytes) -> None:
    for digest in mentions(data):
        assert digest.encode() in data


def test_of_a_longer_run_of_digits_every_64_are_a_mention() -> None:
    run = b"0123456789abcdef" * 4 + b"ab"
    assert list(mentions(b"-" + run + b"-")) == [run[at : at + 64].decode() for at in range(3)]
    assert list(mentions(b"A" * 64 + run[:63])) == [], "neither capitals nor 63 digits are a digest"


def test_foreign_events_refer_to_nothing_and_mention_what_they_hold() -> None:
    digest = "ab" * 32
    data = orjson.dumps({"path": "p", "digest": digest, "size_bytes": 1})
    assert list(references("shop.Order:Placed", data)) == []
    assert list(references("run.cancelled", data)) == [(digest, 1)]
    assert list(mentions(b"\x00pickle" + data)) == [digest]


@pytest.mark.parametrize("ref", [{"digest": "ab" * 32}, {"digest": "AB" * 32, "path": "p", "size_bytes": 1}])
def test_what_is_no_reference_is_not_taken_for_one(ref: dict[str, Any]) -> None:
    assert list(references("run.started", orjson.dumps({"config": ref}))) == []
