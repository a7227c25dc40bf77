"""Cutting text at its own joints: sentences, words, paragraphs."""

import re

ELLIPSIS = "…"
_SENTENCE_END = re.compile(r"(?<=[.!?])\s+")
_FENCE = re.compile(r"^\s*(```|~~~)")


def sentences(text: str) -> list[str]:
    return [sentence for sentence in _SENTENCE_END.split(text.strip()) if sentence]


def cut_text(text: str, chars_max: int, *, at_least: int | None = None) -> str:
    """At most `chars_max` characters: whole sentences where those give `at_least` characters (all
    of `chars_max` unless given), else whole words and an ellipsis."""
    if len(text) <= chars_max:
        return text
    whole = ""
    for sentence in sentences(text):
        if len(whole) + len(sentence) + 1 > chars_max:
            break
        whole = f"{whole} {sentence}".strip()
    if len(whole) >= (chars_max if at_least is None else at_least):
        return whole
    room = text[:chars_max]  # one character more than may stay: a word that ends there is whole
    words, _, _ = room.rpartition(" ")
    return (words or room[:-1]).rstrip(" ,;:-(") + ELLIPSIS


def split_body(body: str, chars_min: int) -> tuple[str, str] | None:
    """Two parts of at least `chars_min` characters each, as equal as can be; None where there is no
    such joint. Code blocks stay whole."""
    for parts, glue in ((_paragraphs(body), "\n\n"), (sentences(body), " ")):
        if "```" in body and glue == " ":
            return None
        halves = [(glue.join(parts[:at]), glue.join(parts[at:])) for at in range(1, len(parts))]
        fitting = [pair for pair in halves if min(map(len, pair)) >= chars_min]
        if fitting:
            return min(fitting, key=lambda pair: abs(len(pair[0]) - len(pair[1])))
    return None


def _paragraphs(body: str) -> list[str]:
    paragraphs: list[list[str]] = [[]]
    in_code = False
    for line in body.splitlines():
        if _FENCE.match(line):
            in_code = not in_code
        if line.strip() or in_code:
            paragraphs[-1].append(line)
        elif paragraphs[-1]:
            paragraphs.append([])
    return ["\n".join(lines) for lines in paragraphs if lines]
