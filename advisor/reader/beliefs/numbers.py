"""What stands in no lexicon: counts that lie far apart, and whether a sentence asks."""

from __future__ import annotations

from .match import Hit, Word

FAR_APART = 20.0  # a task with twenty times the data or reward of another drowns it

_UNITS = {
    w: float(n)
    for n, w in enumerate(
        "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen eighteen "
        "nineteen twenty".split()
    )
} | {"thirty": 30.0, "forty": 40.0, "fifty": 50.0, "sixty": 60.0, "eighty": 80.0, "ninety": 90.0}
_SCALES = {"hundred": 1e2, "thousand": 1e3, "k": 1e3, "million": 1e6, "m": 1e6, "billion": 1e9}
_SET_AGAINST = frozenset(
    "against whereas while versus vs but only just maybe barely compared has have gets pays with to yields".split()
)
_LEAST_WORD = 10.0  # smaller number words are articles more often than counts


def read_aloud(text: str, words: list[Word]) -> list[Hit]:
    """`far_apart` for two counts set against each other whose ratio is FAR_APART or more, `question` for a sentence that asks, `same_old` for
    "water is water"."""
    found = []
    if "?" in text[words[-1].end : words[-1].end + 3]:
        found.append(Hit("question", 0, len(words) - 1, False))
    for i in range(len(words) - 2):
        if words[i].text == words[i + 2].text and words[i + 1].text in ("is", "are"):
            found.append(Hit("same_old", i, i + 2, False))
    numbers = _numbers(text, words)
    for (first, a, _), (_, b, last) in zip(numbers, numbers[1:], strict=False):
        between = {word.text for word in words[first:last]}
        if min(a, b) > 0 and max(a, b) / min(a, b) >= FAR_APART and between & _SET_AGAINST:
            found.append(Hit("far_apart", first, last, False))
    return found


def _numbers(text: str, words: list[Word]) -> list[tuple[int, float, int]]:
    """The numbers of a sentence with their first and last word: digits with thousands' commas, words, and scales such as `k`."""
    found: list[tuple[int, float, int]] = []
    i = 0
    while i < len(words):
        first, word = i, words[i].text
        digits, suffix = word.rstrip("km"), word[len(word.rstrip("km")) :]
        if digits.isdecimal() and len(suffix) < 2:
            while i + 1 < len(words) and text[words[i].end : words[i + 1].start] == "," and len(words[i + 1].text) == 3:
                if not words[i + 1].text.isdecimal():
                    break
                digits, i = digits + words[i + 1].text, i + 1
            value = float(digits[:15]) * _SCALES.get(suffix, 1.0)
        elif word in _UNITS or word in _SCALES and len(word) > 1:
            value = _UNITS.get(word, 0.0) or _SCALES.get(word, 0.0)
            if value < _LEAST_WORD and not (i + 1 < len(words) and words[i + 1].text in _SCALES):
                i += 1
                continue
        else:
            i += 1
            continue
        while i + 1 < len(words) and words[i + 1].text in _SCALES:
            value, i = value * _SCALES[words[i + 1].text], i + 1
        found.append((first, value, i))
        i += 1
    return found
