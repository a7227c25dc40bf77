"""Keywords are computed, and always the same."""

from ledger.demo.keywords import Corpus, count_corpus, rank_keywords
from ledger.demo.words import count_terms, sequences

TEXT = """# Event stores

An event store keeps events. The event store appends; a projection folds events into tables.
`code_is_left_out()` and so are [links](https://example.org/nowhere).

```python
fenced = "left out too"
```
"""


def test_code_links_and_stop_words_are_no_terms() -> None:
    words = {word for sequence in sequences(TEXT) for word in sequence}
    assert {"event", "projection", "tables"} <= words
    assert not words & {"the", "and", "fenced", "code_is_left_out", "https", "example"}


def test_a_plural_counts_as_its_singular() -> None:
    counts = count_terms(TEXT)
    assert counts["event"] == 5
    assert "events" not in counts
    assert counts["event store"] == 3


def test_pairs_stand_before_their_parts_and_ranking_is_repeatable() -> None:
    corpus = count_corpus([TEXT, "Tables of another text."])
    ranked = rank_keywords(TEXT, corpus)
    assert ranked == rank_keywords(TEXT, corpus)
    assert ranked[0]["term"] in {"event", "event store"}
    assert "store" not in [keyword["term"] for keyword in ranked]


def test_what_every_text_has_weighs_less() -> None:
    corpus = count_corpus(["common rare", "common", "common"])
    assert [keyword["term"] for keyword in rank_keywords("common rare", corpus)] == ["rare", "common"]
    assert rank_keywords("", Corpus()) == []
