"""Digests, prefixes and keys: pure, and strict about what they let in."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from blobstore import BlobStoreMisconfigured, InvalidDigest, digest_of, parse_digest
from blobstore.digest import digest_of_chunks
from blobstore.downloads import attachment
from blobstore.keys import blob_key, parse_prefix
from blobstore.minio.endpoint import parse_endpoint

EMPTY = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
ABC = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


@pytest.mark.parametrize(("content", "digest"), [(b"", EMPTY), (b"abc", ABC)])
def test_digests_are_those_of_the_published_vectors(content: bytes, digest: str) -> None:
    assert digest_of(content) == digest  # FIPS 180-4 examples


@given(st.lists(st.binary(max_size=64)))
def test_a_digest_does_not_depend_on_the_chunks(chunks: list[bytes]) -> None:
    assert digest_of_chunks(chunks) == digest_of(b"".join(chunks))


@given(st.binary())
def test_every_digest_made_is_a_digest_parsed(content: bytes) -> None:
    assert parse_digest(digest_of(content)) == digest_of(content)


@given(st.text(max_size=70))
def test_a_text_that_is_no_digest_is_refused(text: str) -> None:
    with pytest.raises(InvalidDigest, match="64 lower-case"):
        parse_digest(text)


@pytest.mark.parametrize("text", [ABC.upper(), ABC[:-1], ABC + "0", ABC + "\n", "٣" * 64, None, b"a" * 64])
def test_nearly_a_digest_is_refused(text: str) -> None:
    with pytest.raises(InvalidDigest):
        parse_digest(text)


def test_a_key_says_prefix_algorithm_two_digits_digest() -> None:
    assert blob_key("acme_1", digest_of(b"abc")) == f"acme_1/sha256/ba/{ABC}"


@given(st.text(max_size=66), st.text(max_size=66))
def test_keys_of_two_prefixes_never_lie_within_each_other(one: str, other: str) -> None:
    try:
        keys = [blob_key(parse_prefix(prefix), digest_of(b"")) for prefix in (one, other)]
    except BlobStoreMisconfigured:
        return
    assert (keys[0] == keys[1]) == (one == other)
    assert all(key.count("/") == 3 and ".." not in key for key in keys)


ENDPOINTS = ["localhost:9000", "minio", "s3.example.com:443", "127.0.0.1:1", "[::1]:9000"]
NO_ENDPOINTS = ["http://localhost:9000", "https://s3.example.com", "a:9000/path", "a b", "", "::1"]


@pytest.mark.parametrize("text", ENDPOINTS)
def test_a_host_with_or_without_a_port_is_an_endpoint(text: str) -> None:
    assert parse_endpoint(text) == text


@pytest.mark.parametrize("text", NO_ENDPOINTS)
def test_anything_more_is_no_endpoint(text: str) -> None:
    with pytest.raises(BlobStoreMisconfigured, match="host:port"):
        parse_endpoint(text)


def test_a_scheme_is_answered_with_the_setting_to_use_instead() -> None:
    with pytest.raises(BlobStoreMisconfigured, match="use_ssl"):
        parse_endpoint("https://localhost:9000")


def test_a_password_in_an_endpoint_is_not_repeated() -> None:
    with pytest.raises(BlobStoreMisconfigured) as told:
        parse_endpoint("https://someone:hunter2@localhost:9000")
    assert "hunter2" not in str(told.value)


@given(st.text(max_size=300))
def test_a_file_name_never_ends_its_header_or_its_quotes(file_name: str) -> None:
    header = attachment(file_name)
    assert header.startswith('attachment; filename="')
    assert header.isascii()
    assert header.isprintable()
    assert header.count('"') == 2
    assert not set(header) & set("\\/")


def test_a_file_name_that_is_plain_or_not_is_kept_exactly_once_and_readably_once() -> None:
    assert attachment("a b.html") == "attachment; filename=\"a b.html\"; filename*=UTF-8''a%20b.html"
    assert attachment("ü;.md") == "attachment; filename=\"_;.md\"; filename*=UTF-8''%C3%BC%3B.md"
    assert attachment("") == "attachment; filename=\"blob\"; filename*=UTF-8''blob"
