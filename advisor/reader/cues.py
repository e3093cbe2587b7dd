"""Cue words with negation scope for what refines the advice and never changes the verdict.

These are the four concerns of multi-task training in plain words, the kind of model, whether the task's identity is an input,
and two counts. The careful reader looks for concerns told in other words as well: beliefs/.
"""

from __future__ import annotations

import re

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
_COUNTS: tuple[tuple[str, re.Pattern[str]], ...] = tuple(
    (fact, re.compile(rf"\b(\d{{1,6}}|{'|'.join(_NUMBERS)}) (?:\w+ ){{0,2}}?(?:{nouns})\b", re.IGNORECASE))
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
_CUES_COMPILED = tuple((fact, value, re.compile(pattern, re.IGNORECASE)) for fact, value, pattern in _CUES)
# On text in lower case a pattern that heeds case says as much, three times as fast.
_LOWER = {pattern: re.compile(pattern.pattern) for pattern in [c[2] for c in _CUES_COMPILED] + [c[1] for c in _COUNTS]}
_NEGATED_IN_PATTERN = {("task_identity", "hidden")}


def _span(clause: Span, match: re.Match[str]) -> Span:
    start = clause.start + match.start()
    return Span(start, start + len(match.group()), match.group())


def cue_proposals(clauses: tuple[Span, ...]) -> tuple[Proposal, ...]:
    """Return a proposal for each refining fact whose cue stands un-negated in a clause; two values at once give none."""
    found: dict[str, dict[str, Span]] = {}
    whole = "\n".join(clause.text for clause in clauses).lower()  # most cues are nowhere in it, which is quickly seen
    for fact, value, pattern in _CUES_COMPILED:
        if not _LOWER[pattern].search(whole):
            continue
        for clause in clauses:
            match = pattern.search(clause.text)
            if match is None:
                continue
            before = clause.text[max(0, match.start() - NEGATION_REACH) : match.start()]
            if (fact, value) not in _NEGATED_IN_PATTERN and _negation.search(before):
                continue
            found.setdefault(fact, {}).setdefault(value, _span(clause, match))
    for fact, count in _COUNTS:
        if not _LOWER[count].search(whole):
            continue
        for clause in clauses:
            for match in count.finditer(clause.text):
                number = match.group(1).lower()
                found.setdefault(fact, {}).setdefault(_NUMBERS.get(number, number), _span(clause, match))
    return tuple(
        Proposal(fact, value, CUE_CONFIDENCE, "text", (span,))
        for fact, values in found.items()
        if len(values) == 1
        for value, span in values.items()
    )
