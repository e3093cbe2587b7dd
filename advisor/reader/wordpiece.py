"""Text -> word pieces, as the uncased tokeniser of BERT and MPNet cuts them (Devlin et al. 2019; Wu et al. 2016, "wordpiece").

Lower case without accents, punctuation alone, then the longest known piece first. Written here because the common
libraries for it bring a network client along; a test holds it to known pieces.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping

START, END, UNKNOWN = "<s>", "</s>", "[UNK]"
LONGEST_WORD = 100  # characters; a longer "word" is one unknown piece


def words(text: str) -> list[str]:
    """Lower-case words and single punctuation marks, without accents and control characters."""
    plain = []
    for c in unicodedata.normalize("NFD", text.lower()):
        category = unicodedata.category(c)
        if c.isspace():
            plain.append(" ")
        elif category == "Mn" or category.startswith("C"):
            continue
        elif category.startswith("P") or c in "$+<=>^`|~":
            plain.append(f" {c} ")
        else:
            plain.append(c)
    return "".join(plain).split()


def pieces(word: str, vocabulary: Mapping[str, int]) -> list[int]:
    """The ids of one word's pieces, the longest first; one unknown piece where any part is not in the vocabulary."""
    found: list[int] = []
    start = 0
    while start < len(word):
        for end in range(len(word), start, -1):
            piece = word[start:end] if start == 0 else "##" + word[start:end]
            if piece in vocabulary:
                found.append(vocabulary[piece])
                start = end
                break
        else:
            return [vocabulary[UNKNOWN]]
    return found


def encode(text: str, vocabulary: Mapping[str, int], limit: int) -> list[int]:
    """At most `limit` ids, start and end marks included; what is beyond is cut off."""
    ids = [vocabulary[START]]
    for word in words(text):
        if len(ids) >= limit - 1:
            break
        ids.extend(pieces(word, vocabulary) if len(word) <= LONGEST_WORD else [vocabulary[UNKNOWN]])
    return [*ids[: limit - 1], vocabulary[END]]
