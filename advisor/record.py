"""Stage 4: the one machine-readable form of an answer. `classify`, `explain --json` and `ask --json` all print this record."""

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from .engine import Recommendation
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
    fact: str
    question: str
    values: list[str]


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

    def as_dict(self) -> dict[str, Any]:
        """The record with the contract's names (`if`, not `if_`)."""
        return self.model_dump(by_alias=True)


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
