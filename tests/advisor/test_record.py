"""The record: the contract's keys, and beside them the decision record where it is asked for."""

import json

import jsonschema
import pytest

from advisor import rulebook
from advisor.engine import decide, recommend
from advisor.errors import BadScenario
from advisor.export import FORMATS
from advisor.facts import Known
from advisor.proof import partial_sets
from advisor.reader import Span
from advisor.record import Record, explained, failed, record

BOOK = rulebook.load()
SCHEMA = jsonschema.Draft202012Validator(json.loads(FORMATS["record-schema"](BOOK)))
CONTRACT = {
    "id", "recommendation", "possible", "framing", "confidence", "facts", "missing", "next_question", "rule", "pitfalls", "mitigations",
    "parallel", "alternatives", "rules_version", "error",
}  # fmt: skip
EXTRA = {"gradient_interference": "present", "model_kind": "foundation_model", "task_count": "12"}


def known(values: dict[str, str]) -> dict[str, Known]:
    return {n: Known(v, 0.9, "text", (Span(0, 3, "abc"),)) for n, v in values.items()}


@pytest.mark.parametrize("extra", [{}, EXTRA], ids=["bare", "with refining facts"])
def test_every_record_is_of_the_contract_and_of_the_schema(extra: dict[str, str]) -> None:
    """At every point and partial set the record has exactly the contract's keys, and validates against the exported JSON Schema."""
    for values in partial_sets(BOOK):
        answer = recommend(known({**values, **extra}), BOOK)
        plain, full = record("s", answer, BOOK).as_dict(), explained("s", answer, BOOK).as_dict()
        assert set(plain) == CONTRACT and set(full) == CONTRACT | {"decision"}
        assert {k: v for k, v in full.items() if k != "decision"} == plain
        for document in (plain, full):
            SCHEMA.validate(json.loads(json.dumps(document)))
            Record.model_validate(document)


def test_the_schema_refuses_what_is_no_record() -> None:
    """An unknown verdict, rule, fact or key does not validate."""
    good = explained("s", recommend(known({"test_tasks": "shifted"}), BOOK), BOOK).as_dict()
    for key, value in (
        ("recommendation", "dqn"),
        ("rule", "nobody"),
        ("facts", {"weather": good["facts"]["test_tasks"]}),
        ("possible", ["undecided"]),
        ("surprise", 1),
        ("framing", "both"),
    ):
        assert not SCHEMA.is_valid({**good, key: value}), key


def test_the_decision_record_is_that_of_the_engine() -> None:
    """Facts come with their values: excluding sets, forcing sets, single changes and open facts say what the engine decided."""
    for values in partial_sets(BOOK):
        decided = decide(values, BOOK)
        document = explained("s", recommend(known({**values, **EXTRA}), BOOK), BOOK).as_dict()["decision"]
        assert document["rules"] == list(decided.rules)
        assert document["forced_by"] == [{n: values[n] for n in names} for names in decided.forced_by]
        assert document["excluded"] == [
            {"verdict": e.verdict, "by": [{n: values[n] for n in names} for names in e.by]} for e in decided.excluded
        ]
        assert document["changes"] == [
            {"if": {c.fact: c.value}, "possible": list(c.possible), "rules": list(c.rules)} for c in decided.changes
        ]
        assert document["open"] == [
            {"fact": o.fact, "leads": {v: list(p) for v, p in o.leads.items()}} for o in decided.open
        ]


def test_an_error_in_the_place_of_an_answer() -> None:
    """A row that could not be read is a record with the error, and validates too."""
    document = failed("row 3", BadScenario("is no valid JSON", "x.jsonl, line 3")).as_dict()
    assert document["recommendation"] is None and set(document) == CONTRACT
    assert document["error"] == {"code": "bad-scenario", "message": "is no valid JSON", "where": "x.jsonl, line 3"}
    SCHEMA.validate(document)
