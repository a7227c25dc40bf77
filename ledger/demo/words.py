"""Words: the terms of a Markdown text, with code, addresses and stop words taken out.

term   a word, or two neighbouring words with neither punctuation nor a stop word between them
"""

import re
from collections import Counter
from collections.abc import Iterator
from itertools import pairwise

WORD_CHARS_MIN = 3

_NOT_PROSE = re.compile(
    r"^(?P<fence>```|~~~).*?^(?P=fence)[^\n]*$"  # fenced code
    r"|`[^`\n]*`"  # code in a line
    r"|<[^>\n]{1,200}>"  # tags
    r"|\]\([^)\n]*\)"  # where a link leads
    r"|https?://\S+",
    re.MULTILINE | re.DOTALL,
)
_WORD_OR_BREAK = re.compile(
    r"(?P<word>[^\W\d_](?:[\w'\u2019-]*\w)?)"
    r"|(?P<gap>[ \t]+|\n(?!\s*\n))"  # the end of a line, not of a paragraph
    r"|(?P<end>.)",
    re.DOTALL,
)

_STOP_WORDS = """
a able about above across after again against all almost along already also although always am among an
and another any anybody anyone anything are aren't around as ask asks at away back be became because
become been before began begin behind being below beside besides between beyond both but by came can
cannot can't come comes could did didn't do does doesn't doing don't done down during each either else end
enough even ever every everything except far few first for found from further gave get gets give given
gives go goes going gone got had half has have haven't having he her here hers him his how however i if in
indeed instead into is isn't it its it's itself just keep keeps kept knew know known knows last later
least less let like made make makes making many may me might mine more most much must my named names near
neither never new next no nobody none nor not nothing now of off often old on once one ones only onto or
other others our ours out over own per please put quite rather really said same saw say says second see
seen several shall she should show shows since so some somebody someone something sometimes soon still
such take taken takes tell tells than that that's the their theirs them themselves then there these they
thing things think this those though three through thus till to together told too took toward towards two
under until up upon us use used uses using very via want wants was wasn't way we well went were weren't
what whatever when where whether which while who whole whom whose why will with within without won't would
yes yet you your yours yourself
"""
STOP_WORDS = frozenset(_STOP_WORDS.split())


def count_terms(text: str) -> Counter[str]:
    """How often each term stands in `text`, in order of first appearance. A plural counts as its
    singular where both are there."""
    counts: Counter[str] = Counter()
    for sequence in sequences(text):
        counts.update(sequence)
        counts.update(f"{one} {two}" for one, two in pairwise(sequence))
    for term in [term for term in counts if term.endswith("s") and not term.endswith("ss")]:
        if term[:-1] in counts:
            counts[term[:-1]] += counts.pop(term)
    return counts


def sequences(text: str) -> Iterator[list[str]]:
    """Runs of words in lower case, broken at stop words and punctuation."""
    words: list[str] = []
    for match in _WORD_OR_BREAK.finditer(_NOT_PROSE.sub(" . ", text)):
        if match["gap"] is not None:
            continue
        word = (match["word"] or "").lower()
        if len(word) >= WORD_CHARS_MIN and word not in STOP_WORDS:
            words.append(word)
        elif words:
            yield words
            words = []
    if words:
        yield words
