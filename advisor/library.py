"""Stage 7: the stages joined for other programs. `import advisor` gives its six functions; docs/library.md shows them at work.

What is heavy (the reader's weights, templates, training) is imported by the function that needs it.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Executor
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from . import rulebook as rulebooks
from . import scenario as scenarios
from .engine import Recommendation
from .engine import recommend as decide
from .errors import AdvisorError, BadScenario, UnknownEntry, UnknownFact, nearest, quoted
from .facts import establish
from .rulebook import Rulebook
from .scenario import SCENARIO_SUFFIXES, Scenario

if TYPE_CHECKING:
    from .fit import FitReport
    from .reader import Proposal
    from .record import QuestionRecord, Record
    from .starter import Project

Source = Scenario | str | Path | Mapping[str, Any]
Answers = Mapping[str, str | int | None]
READERS = ("careful", "quick", "llm")
_TEXTS_KEPT = 32  # a dialogue asks about one text again and again


def read(source: Source, scenario_id: str = "") -> Scenario:
    """The scenario of a description (`str`, never taken for a file's name), a file (`Path`), or a mapping like a file's content.

    A mapping has `description`, `facts` (fact -> value) or both, and may have an `id`. `scenario_id` names the scenario; without it the id
    is the file's own, or "scenario". Raises BadScenario and its kin for what is no scenario; the facts are checked on use.
    """
    if isinstance(source, Scenario):
        told = source
    elif isinstance(source, Path):
        told = scenarios.load_file(source)
    elif isinstance(source, str):
        if Path(source[:300]).suffix.lower() in SCENARIO_SUFFIXES and not any(c.isspace() for c in source):
            raise BadScenario("is a file's name and no description", quoted(source), "give pathlib.Path(...)")
        told = scenarios.from_text(source, "scenario")
    elif isinstance(source, Mapping):
        told = scenarios.from_mapping(dict(source), "scenario", "")
    else:
        raise BadScenario(f"a scenario is a str, a Path or a mapping, not {type(source).__name__}")
    return replace(told, id=scenario_id[:200]) if scenario_id else told


def recommend(source: Source, answers: Answers | None = None, *, rules: Path | None = None) -> "Record":
    """What fits a scenario, with the facts behind it and where each came from.

    `answers` (fact -> value) beat the scenario's facts and its text; `None` or "unknown" takes back what was read from the text, and is
    not asked for again. `rules` is a folder of own rules. Raises BadScenario, UnknownFact, UnknownValue, ContradictingFacts, RulesError.
    """
    return recommend_with(read(source), answers, rulebooks.load(rules))


def next_question(
    source: Source, answers: Answers | None = None, *, rules: Path | None = None
) -> "QuestionRecord | None":
    """The question that helps most, or None where no further answer can change the verdict; parameters and errors as for `recommend`."""
    return recommend(source, answers, rules=rules).next_question


def classify_many(
    sources: Source | Iterable[Source], *, executor: Executor | None = None, rules: Path | None = None
) -> Iterator["Record"]:
    """One record for each scenario, in order; a fault becomes a record with an `error`, and the others are unharmed.

    A `Path` may also be a table (JSONL, CSV, Parquet), a folder or a glob: a record for each scenario in it. Everything else is what `read`
    takes, and bears its number as id where it has none. With an executor (processes of this machine, a cluster's) the work is spread, 256
    scenarios a job. Raises RulesError, and OtherVersion where a worker has another advisor or other rules.
    """
    from . import batch

    book = rulebooks.load(rules)
    several = [sources] if isinstance(sources, Scenario | str | Path | Mapping) else sources
    return batch.classify(_rows(several), book, executor)


def new(
    folder: Path,
    source: Source | None = None,
    *,
    family: str | None = None,
    env: str | None = None,
    dry_run: bool = False,
    force: bool = False,
    rules: Path | None = None,
) -> "Project":
    """Writes a starter project around the recommended reference implementation, all of it or nothing.

    `family` insists on multi_task, maml, rl2 or pearl, and does without a scenario; `env` wires the project to one of starter.ENVIRONMENTS;
    `dry_run` writes nothing; `force` takes a folder in use, in which what is not advisor's stays as it is. Raises NoProject where nothing
    is recommended that could be written, UnknownEntry, FolderNotEmpty, CannotWrite, and what `recommend` raises.
    """
    from . import starter

    if source is None and family is None:
        raise BadScenario("there is neither a scenario nor a family", hint="give one of them")
    book = rulebooks.load(rules)
    told = Scenario(Path(folder).name or "project") if source is None else read(source)
    answer = understand(told, book)
    return starter.write(Path(folder), told, answer, book, family=family, env=env, dry_run=dry_run, force=force)


def fit_scenario(
    source: Source,
    *,
    family: str | None = None,
    budget: str = "smoke",
    seeds: int | None = None,
    executor: Executor | None = None,
    on_progress: Callable[[str, int, int], None] | None = None,
    rules: Path | None = None,
) -> "FitReport":
    """Trains the recommended implementation and its controls on a small stand-in, and says whether the recommendation fits.

    `source` may also be the folder of a starter project. `budget` is "smoke" or "standard"; `on_progress(what, done, total)` follows each
    training. Without an executor two processes are started, so a script needs its `if __name__ == "__main__":`. Raises NoProject where
    there is nothing to train, UnknownEntry, and what `recommend` raises.
    """
    from . import fit
    from .starter import manifest

    book = rulebooks.load(rules)
    if isinstance(source, Path) and source.is_dir():
        held = manifest.read(source, book)
        told, answer, family = (
            held.scenario,
            decide(held.facts, book),
            family or (held.family if held.insisted else None),
        )
    else:
        told = read(source)
        answer = understand(told, book)
    return fit.run(
        told.id, answer, book, family=family, budget=budget, seeds=seeds, executor=executor, on_progress=on_progress
    )


def understand(
    scenario: Scenario, book: Rulebook, answers: Mapping[str, str] | None = None, reader: str = "careful"
) -> Recommendation:
    """Stages 2 and 3 for one scenario: its text is read, answers and stated facts beat it, the engine decides.

    `reader` is careful, quick, or llm: the language model that the environment names. Raises UnknownEntry for another.
    """
    check_reader(reader)
    proposals = proposals_of(scenario.text, reader) if scenario.text.strip() else ()
    return decide(establish(scenario, book, proposals, answers), book)


def check_reader(name: str) -> None:
    """Raises UnknownEntry for what is none of READERS."""
    if name not in READERS:
        raise UnknownEntry(f"no reader is called `{quoted(name)}`", hint=nearest(name, READERS) or ", ".join(READERS))


def recommend_with(scenario: Scenario, answers: Answers | None, book: Rulebook) -> "Record":
    """`recommend` for a scenario and a rulebook that are at hand."""
    from .record import record

    given = stated(answers, book)
    answer = understand(scenario, book, given)
    return record(scenario.id, answer, book).model_copy(update={"next_question": _question(answer, given, book)})


def stated(answers: Answers | None, book: Rulebook) -> dict[str, str]:
    """Answers as strings, "unknown" included. Raises UnknownFact for a name that the rules don't know, BadScenario for what is no word."""
    given = dict(answers or {})
    if odd := [name for name in given if name not in book.facts]:
        hint = f"{nearest(str(odd[0]), book.facts)} all facts: advisor rules list facts".strip()
        raise UnknownFact(f"no fact is called `{quoted(str(odd[0]))}`", "answers", hint)
    plain = scenarios.plain_facts(given, "answers")
    return {name: plain.get(name, "unknown") for name in given}


@lru_cache(maxsize=_TEXTS_KEPT)
def proposals_of(text: str, reader: str, asking: bool = False) -> "tuple[Proposal, ...]":
    """What `careful`, `quick` or `llm` reads from a text; `asking`: questions can follow, so less is accepted from the text."""
    if reader == "llm":
        from .reader import llm

        return llm.read_all([text])[0]
    from .reader import read as read_text

    return read_text(text, careful=reader == "careful", asking=asking)


def _question(answer: Recommendation, given: Mapping[str, str], book: Rulebook) -> "QuestionRecord | None":
    from .questions import next_question as best
    from .record import QuestionRecord

    asked = [fact.id for fact in book.decisive if given.get(fact.id) == "unknown"]
    fact = best(answer.values, asked, book)
    return None if fact is None else QuestionRecord(fact=fact.id, question=fact.question, values=list(fact.values))


def _rows(sources: Iterable[Source]) -> Iterator[Scenario | tuple[str, AdvisorError]]:
    from . import batch

    for number, source in enumerate(sources, start=1):
        try:
            if isinstance(source, Path):
                yield from batch.rows([str(source)])
                continue
            told = read(source)
            named = isinstance(source, Scenario) or (isinstance(source, Mapping) and source.get("id"))
            yield told if named else replace(told, id=str(number))
        except AdvisorError as error:
            yield (str(source)[:200] if isinstance(source, Path) else str(number)), error
