"""Keywords by TF-IDF (Spärck Jones 1972): a term weighs more the oftener it stands in this text
and the fewer texts of the corpus have it. Pure: the same texts give the same keywords."""

import math
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TypedDict

from ledger.demo.words import count_terms

KEYWORDS_MAX = 20
PAIR_WEIGHT = 1.5  # two words together say more than either
PAIR_COUNT_MIN = 2  # once may be chance


class Keyword(TypedDict):
    term: str
    count: int
    score: float


@dataclass(frozen=True)
class Corpus:
    """How many documents there are, and in how many each term stands."""

    documents: int = 0
    containing: Mapping[str, int] = field(default_factory=dict)

    def rarity(self, term: str) -> float:
        """The smoothed inverse document frequency, at least 1: a corpus of one text works too."""
        return math.log((1 + self.documents) / (1 + self.containing.get(term, 0))) + 1


def count_corpus(texts: Iterable[str]) -> Corpus:
    containing: Counter[str] = Counter()
    documents = 0
    for text in texts:
        documents += 1
        containing.update(count_terms(text).keys())
    return Corpus(documents, containing)


def rank_keywords(text: str, corpus: Corpus) -> list[Keyword]:
    """The best 20, best first; equal ones in order of first appearance."""
    counts = count_terms(text)
    found = [
        Keyword(term=term, count=count, score=round(_weight(term, count) * corpus.rarity(term), 3))
        for term, count in counts.items()
        if " " not in term or count >= PAIR_COUNT_MIN
    ]
    found.sort(key=lambda keyword: -keyword["score"])
    return _without_parts(found)[:KEYWORDS_MAX]


def _weight(term: str, count: int) -> float:
    return count * PAIR_WEIGHT if " " in term else count


def _without_parts(ranked: list[Keyword]) -> list[Keyword]:
    """Leaves out single words that mostly stand in a pair ranked above them."""
    kept: list[Keyword] = []
    in_pairs: Counter[str] = Counter()
    for keyword in ranked:
        words = keyword["term"].split()
        if len(words) == 1 and 2 * in_pairs[words[0]] >= keyword["count"]:
            continue
        kept.append(keyword)
        if len(words) > 1:
            in_pairs.update(dict.fromkeys(words, keyword["count"]))
    return kept
