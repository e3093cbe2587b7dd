"""Phrases over words: a small pattern language, and the search for many phrases at once.

A phrase is a line of words. `tun*` is any word that begins so, `{a,b}` either, `...` up to three words of any kind.
Words are lower case, hyphens part them ("fine-tune" is `fine tune`), and a phrase never reaches over the end of a sentence.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

GAP = "..."
GAP_WORDS = 3
NEGATION_REACH = 4  # words before a phrase in which a negation still governs it

_word = re.compile(r"\w+(?:['\u2019]\w+)?")
_end = re.compile(r"[.!?]+(?=[\s\"'\u201d)]|$)|\n\s*\n|[;\n]")
_continued = re.compile(r",\s*\n\s*")
_patterns = re.compile(r"\{[^}]*\}|\S+")
_NEGATIONS = frozenset(
    "no not never without neither nor none nobody nothing hardly barely cannot can't isn't aren't wasn't weren't don't doesn't didn't "
    "won't wouldn't shouldn't couldn't hasn't haven't".split()
)
_SCOPE_ENDS = frozenset("but however although though whereas while yet because since so then".split())


@dataclass(frozen=True)
class Word:
    """A word of the text in lower case, with its place: `text[start:end]`."""

    text: str
    start: int
    end: int


@dataclass(frozen=True)
class Hit:
    """A phrase found: the concept it stands for, the words it covers (`first` to `last`, both included), and whether it is denied."""

    concept: str
    first: int
    last: int
    denied: bool


def sentences(text: str) -> list[list[Word]]:
    """The words of a text, sentence by sentence; a semicolon and a line end part sentences too."""
    found: list[list[Word]] = []
    start = 0
    for match in [*_end.finditer(text), None]:
        end = len(text) if match is None else match.start()
        words = [
            Word(m.group().lower().replace("\u2019", "'"), m.start(), m.end()) for m in _word.finditer(text, start, end)
        ]
        if words:
            found.append(words)
        start = end if match is None else match.end()
    return found


class Part:
    """One place of a phrase: single words, beginnings of words, and runs of several words (or none) that may stand there."""

    __slots__ = ("beginnings", "runs", "words")

    def __init__(self, pattern: str) -> None:
        choices = [c.split() for c in pattern[1:-1].split(",")] if pattern.startswith("{") else [[pattern]]
        single = [c[0] for c in choices if len(c) == 1]
        self.words = frozenset(word for word in single if not word.endswith("*"))
        self.beginnings = tuple(word[:-1] for word in single if word.endswith("*"))
        self.runs = [[Part(word) for word in c] for c in choices if len(c) != 1]

    def takes(self, word: str) -> bool:
        """Whether the word may stand here by itself."""
        return word in self.words or bool(self.beginnings) and word.startswith(self.beginnings)


Phrase = list[Part | None]  # None is a gap


def parse(line: str) -> Phrase:
    """A phrase from its line."""
    return [None if pattern == GAP else Part(pattern) for pattern in _patterns.findall(line)]


Entry = tuple[str, Phrase, bool]  # concept, phrase, whether the phrase is itself a negation


class Lexicon:
    """Concepts and their phrases, found by the first two words of each where both are plain words, else by the first."""

    def __init__(self, concepts: dict[str, str]) -> None:
        """`concepts` maps a name to its phrases, one a line; a line that ends with a comma goes on in the next."""
        self._by_pair: dict[tuple[str, str], list[Entry]] = {}
        self._by_word: dict[str, list[Entry]] = {}
        self._by_beginning: dict[str, list[Entry]] = {}
        for concept, block in concepts.items():
            for line in _continued.sub(",", block).split("\n"):
                phrase = parse(line)
                if phrase and phrase[0] is not None:
                    self._add(phrase[0], (concept, phrase, not _NEGATIONS.isdisjoint(_word.findall(line))))
        self._lengths = sorted({len(word) for word in self._by_beginning})

    def _add(self, first: Part, entry: Entry) -> None:
        second = entry[1][1] if len(entry[1]) > 1 else None
        for word in {*first.beginnings, *(w for run in first.runs if run for w in run[0].beginnings)}:
            self._by_beginning.setdefault(word, []).append(entry)
        for word in {w for run in first.runs if run for w in run[0].words}:
            self._by_word.setdefault(word, []).append(entry)
        if second is None or second.runs or second.beginnings:
            for word in first.words:
                self._by_word.setdefault(word, []).append(entry)
        else:
            for word in first.words:
                for other in second.words:
                    self._by_pair.setdefault((word, other), []).append(entry)

    def hits(self, words: list[Word]) -> list[Hit]:
        """Every concept found in one sentence, at each place by its shortest phrase."""
        texts = [word.text for word in words]
        found = []
        for i, text in enumerate(texts):
            ends: dict[str, tuple[int, bool]] = {}
            for entry in self._by_word.get(text, ()):
                _try(entry, 0, texts, i, ends)
            for length in self._lengths:
                for entry in self._by_beginning.get(text[:length], ()) if length <= len(text) else ():
                    _try(entry, 0, texts, i, ends)
            if i + 1 < len(texts):
                for entry in self._by_pair.get((text, texts[i + 1]), ()):
                    _try(entry, 2, texts, i + 2, ends)
            if ends:
                is_denied = denied(words, i)
                found += [Hit(name, i, last, is_denied and not negative) for name, (last, negative) in ends.items()]
        return found


def _try(entry: Entry, part: int, texts: list[str], at: int, ends: dict[str, tuple[int, bool]]) -> None:
    concept, phrase, negative = entry
    last = _match(phrase, part, texts, at)
    if last is not None and (concept not in ends or last < ends[concept][0]):
        ends[concept] = (last, negative)


def _match(phrase: Phrase, part: int, texts: list[str], at: int) -> int | None:
    """The last word of the phrase if it stands at `at`, counted from its place `part` on."""
    if part == len(phrase):
        return at - 1
    here = phrase[part]
    if here is None:
        tries = (_match(phrase, part + 1, texts, at + skip) for skip in range(GAP_WORDS + 1))
        return next((last for last in tries if last is not None), None)
    if at < len(texts) and here.takes(texts[at]):
        last = _match(phrase, part + 1, texts, at + 1)
        if last is not None:
            return last
    for run in here.runs:
        end = at + len(run)
        if end > len(texts) or (run and not run[0].takes(texts[at])):
            continue
        if all(place.takes(text) for place, text in zip(run[1:], texts[at + 1 : end], strict=True)):
            last = _match(phrase, part + 1, texts, end)
            if last is not None:
                return last
    return None


def denied(words: list[Word], first: int) -> bool:
    """Whether a negation governs the phrase that begins at `first`."""
    for word in reversed(words[max(0, first - NEGATION_REACH) : first]):
        if word.text in _SCOPE_ENDS:
            return False
        if word.text in _NEGATIONS:
            return True
    return False
