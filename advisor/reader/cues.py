"""Cue words with negation scope for what refines the advice and never changes the verdict.

These are the four concerns of multi-task training in plain words, the kind of model, whether the task's identity is an input,
and two counts. The careful reader looks for concerns told in other words as well: beliefs/.
"""

from __future__ import annotations

import re
from functools import cache

from . import Proposal, Span

CUE_CONFIDENCE = 0.8  # a plain statement in the field's words; refining facts do not enter the verdict's confidence
NEGATION_REACH = 25  # characters before a cue in which a negation still governs it

_negation = re.compile(r"\b(?:no|not|never|without|neither|nor|isn't|aren't|don't|doesn't|didn't|hardly)\b", re.I)

_CUES: tuple[tuple[str, str, str], ...] = (
    (
        "task_imbalance",
        "present",
        r"(?:one|some|a few|two|few) (?:of the )?(?:\w+ ){0,2}(?:tasks?|domains?|games?|jobs?) (?:dominates?|drowns?|swamps?)"
        r"|imbalanced? (?:between |across |among )?tasks?|task imbalance|rewards? (?:on|of) (?:very |wildly )?different scales?"
        r"|(?:easy|rare|large|small) tasks? (?:get|gets|take|takes|receive|are|is) (?:all|most|over|under|starved)"
        r"|(?:far|much) (?:more|less) data (?:for|on|than)|loss(?:es)? (?:scales?|magnitudes?) differ",
    ),
    (
        "gradient_interference",
        "present",
        r"conflicting gradients?|gradients? (?:\w+ ){0,3}(?:conflict|cancel|fight|interfere|oppose|point in opposite)"
        r"|negative transfer|improv\w+ (?:on )?one (?:task )?(?:\w+ ){0,3}(?:hurts|worsens|degrades) (?:an)?other",
    ),
    (
        "capacity_limits",
        "present",
        r"network (?:is )?(?:too small|saturat\w+)|(?:runs?|ran|running) out of capacity|capacity (?:limits?|bottleneck)"
        r"|(?:small|tiny) (?:network|net|model) (?:can ?not|can't|cannot) (?:hold|fit|represent)",
    ),
    (
        "catastrophic_interference",
        "present",
        r"catastrophic(?:ally)? (?:forget\w*|interference)|forget\w* (?:the )?(?:old|earlier|previous|first) \w+"
        r"|(?:old|earlier|previous) (?:tasks?|skills?) (?:are|get|is) (?:lost|forgotten|overwritten)",
    ),
    (
        "model_kind",
        "foundation_model",
        r"(?:large |small )?language models?|\bllms?\b|\bgpt\b|foundation models?|in-context learning|few-shot prompt\w*"
        r"|vision-language(?:-action)? models?|pre-?trained transformer",
    ),
    (
        "task_identity",
        "observed",
        r"task (?:id|ids|identifier|index|label|embedding)s?\b(?! (?:is|are) (?:hidden|unknown))|one-hot (?:task|of the task)"
        r"|told which (?:\w+ )?(?:task|job|game|goal)|(?:task|city|game|robot|product) identity is (?:an input|given|known)",
    ),
    (
        "task_identity",
        "hidden",
        r"(?:not|never|nobody|isn't) (?:be )?(?:told|tells? it|informed) which|task (?:id|identity|label) is "
        r"(?:hidden|unknown|unobserved|not (?:given|available))|(?:without|no) task (?:id|label|identifier)s?",
    ),
)
_NUMBERS = {
    w: str(n) for n, w in enumerate("one two three four five six seven eight nine ten eleven twelve".split(), 1)
}
_COUNTS: tuple[tuple[str, str], ...] = tuple(
    (fact, rf"\b(\d{{1,6}}|{'|'.join(_NUMBERS)}) (?:\w+ ){{0,2}}?(?:{nouns})\b")
    for fact, nouns in (
        (
            "adaptation_episodes",
            r"trials?|trial (?:runs|trajectories)|trajectories|episodes to adapt|attempts|tries|rollouts",
        ),
        (
            "task_count",
            r"(?:known|training|different|named|listed|fixed) (?:\w+ )?(?:tasks|cities|shapes|games|sites|products|categories)",
        ),
    )
)
# Words of which every match of a pattern holds one, in lower case: looking for them is far quicker than searching.
_ANCHORS: dict[tuple[str, str], tuple[str, ...]] = {
    ("task_imbalance", "present"): (
        "dominate", "drown", "swamp", "imbalance", "scale", "easy task", "rare task", "large task", "small task", "data ",
        "magnitude",
    ),
    ("gradient_interference", "present"): ("gradient", "negative transfer", "improv"),
    ("capacity_limits", "present"): ("network ", "capacity", "model can", "net can"),
    ("catastrophic_interference", "present"): ("catastrophic", "forget", "lost", "overwritten"),
    ("model_kind", "foundation_model"): (
        "language", "llm", "gpt", "foundation", "in-context", "few-shot", "transformer",
    ),
    ("task_identity", "observed"): ("task ", "one-hot", "told which", "identity"),
    ("task_identity", "hidden"): ("which", "task "),
    ("adaptation_episodes", ""): ("trial", "trajector", "episodes", "attempts", "tries", "rollouts"),
    ("task_count", ""): ("tasks", "cities", "shapes", "games", "sites", "products", "categories"),
}  # fmt: skip
_NEGATED_IN_PATTERN = {("task_identity", "hidden")}


@cache
def _compiled(pattern: str) -> re.Pattern[str]:
    """Compiled when a text first holds an anchor: most never are, and a single text should not pay for them."""
    return re.compile(pattern, re.IGNORECASE)


def _span(clause: Span, match: re.Match[str]) -> Span:
    start = clause.start + match.start()
    return Span(start, start + len(match.group()), match.group())


def cue_proposals(clauses: tuple[Span, ...]) -> tuple[Proposal, ...]:
    """Return a proposal for each refining fact whose cue stands un-negated in a clause; two values at once give none."""
    found: dict[str, dict[str, Span]] = {}
    whole = "\n".join([clause.text for clause in clauses]).lower()
    for fact, value, pattern in _CUES:
        if not any([anchor in whole for anchor in _ANCHORS[fact, value]]):
            continue
        for clause in clauses:
            match = _compiled(pattern).search(clause.text)
            if match is None:
                continue
            before = clause.text[max(0, match.start() - NEGATION_REACH) : match.start()]
            if (fact, value) not in _NEGATED_IN_PATTERN and _negation.search(before):
                continue
            found.setdefault(fact, {}).setdefault(value, _span(clause, match))
    for fact, count in _COUNTS:
        if not any([anchor in whole for anchor in _ANCHORS[fact, ""]]):
            continue
        for clause in clauses:
            for match in _compiled(count).finditer(clause.text):
                number = match.group(1).lower()
                found.setdefault(fact, {}).setdefault(_NUMBERS.get(number, number), _span(clause, match))
    return tuple(
        Proposal(fact, value, CUE_CONFIDENCE, "text", (span,))
        for fact, values in found.items()
        if len(values) == 1
        for value, span in values.items()
    )
