"""Stage 4: the one machine-readable form of an answer. `classify`, `explain --json` and `ask --json` all print this record."""

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from .engine import Recommendation, decide
from .errors import AdvisorError
from .questions import next_question
from .rulebook import Rulebook


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", populate_by_name=True)


class Evidence(_Part):
    """Words of the description; offsets count its characters."""

    start: int
    end: int
    text: str


class FactRecord(_Part):
    value: str
    confidence: float
    source: str
    evidence: list[Evidence]


class MitigationRecord(_Part):
    concern: str
    options: list[str]


class AlternativeRecord(_Part):
    recommendation: str
    if_: dict[str, str] = Field(alias="if")


class QuestionRecord(_Part):
    """The question that helps most: the fact it settles and the values it may have."""

    fact: str
    question: str
    values: list[str]


class ExclusionRecord(_Part):
    """A verdict that is not possible, and each set of facts that excludes it without a fact to spare."""

    verdict: str
    by: list[dict[str, str]]


class ChangeRecord(_Part):
    """One known fact changed, and the verdicts and rules that are possible then."""

    if_: dict[str, str] = Field(alias="if")
    possible: list[str]
    rules: list[str]


class OpenRecord(_Part):
    """An unknown fact that can still change the verdict: each value, and the verdicts that are possible with it."""

    fact: str
    leads: dict[str, list[str]]


class DecisionRecord(_Part):
    """Why this verdict and no other; see engine.Decision."""

    rules: list[str]
    excluded: list[ExclusionRecord]
    forced_by: list[dict[str, str]]
    changes: list[ChangeRecord]
    open: list[OpenRecord]


class ErrorRecord(_Part):
    code: str
    message: str
    where: str


class Record(_Part):
    """One scenario's answer, or the error that took its place."""

    id: str
    recommendation: str | None = None
    possible: list[str] = []
    framing: str = "undecided"
    confidence: float | None = None
    facts: dict[str, FactRecord] = {}
    missing: list[str] = []
    next_question: QuestionRecord | None = None
    rule: str | None = None
    pitfalls: list[str] = []
    mitigations: list[MitigationRecord] = []
    parallel: str | None = None
    alternatives: list[AlternativeRecord] = []
    rules_version: str = ""
    error: ErrorRecord | None = None
    decision: DecisionRecord | None = None  # of `explain --json` only

    def as_dict(self) -> dict[str, Any]:
        """The record with the contract's names (`if`, not `if_`); without a decision record where none was asked for."""
        return self.model_dump(by_alias=True, exclude={"decision"} if self.decision is None else None)


def explained(scenario_id: str, recommendation: Recommendation, book: Rulebook) -> Record:
    """The record of a recommendation with its decision record."""
    values = recommendation.values
    decided = decide(values, book)

    def with_values(names: tuple[str, ...]) -> dict[str, str]:
        return {name: values[name] for name in names}

    decision = DecisionRecord(
        rules=list(decided.rules),
        excluded=[ExclusionRecord(verdict=e.verdict, by=[with_values(s) for s in e.by]) for e in decided.excluded],
        forced_by=[with_values(names) for names in decided.forced_by],
        changes=[
            ChangeRecord.model_validate({"if": {c.fact: c.value}, "possible": c.possible, "rules": c.rules})
            for c in decided.changes
        ],
        open=[OpenRecord(fact=o.fact, leads={v: list(p) for v, p in o.leads.items()}) for o in decided.open],
    )
    return record(scenario_id, recommendation, book).model_copy(update={"decision": decision})


def record(scenario_id: str, recommendation: Recommendation, book: Rulebook) -> Record:
    """The record of a recommendation."""
    question = next_question(recommendation.values, (), book)
    return Record(
        id=scenario_id,
        recommendation=recommendation.verdict,
        possible=list(recommendation.possible),
        framing=recommendation.framing,
        confidence=round(recommendation.confidence, 4),
        facts={
            name: FactRecord(
                value=known.value,
                confidence=round(known.confidence, 4),
                source=known.source,
                evidence=[Evidence(start=s.start, end=s.end, text=s.text) for s in known.evidence],
            )
            for name, known in recommendation.facts.items()
        },
        missing=list(recommendation.missing),
        next_question=None
        if question is None
        else QuestionRecord(fact=question.id, question=question.question, values=list(question.values)),
        rule=recommendation.rule,
        pitfalls=list(recommendation.pitfalls),
        mitigations=[MitigationRecord(concern=c, options=options(c, book)) for c in recommendation.concerns],
        parallel=recommendation.parallel,
        alternatives=[
            AlternativeRecord.model_validate({"recommendation": a.recommendation, "if": {a.fact: a.value}})
            for a in recommendation.alternatives
        ],
        rules_version=recommendation.rules_version,
    )


def options(concern: str, book: Rulebook) -> list[str]:
    """The ids of a concern's mitigations."""
    entries: list[Mapping[str, str]] = book.entries["mitigations"][concern]["options"]
    return [option["id"] for option in entries]


def failed(scenario_id: str, error: AdvisorError) -> Record:
    """The record of a row that could not be read."""
    return Record(id=scenario_id, error=ErrorRecord(code=error.code, message=error.message, where=error.where))
