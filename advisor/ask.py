"""The questions and answers in a terminal: decides nothing, asks what questions.py says and keeps what was answered."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from textwrap import shorten

from rich.console import Console
from rich.text import Text

from .engine import Recommendation, applying, possible_verdicts, recommend
from .errors import MissingAnswer
from .explain import hanging, printable
from .facts import Known, check, establish
from .questions import next_question
from .reader import Proposal, read
from .rulebook import Fact, Rulebook
from .scenario import Scenario

FOLLOW_UPS = (
    "task_imbalance",
    "gradient_interference",
    "capacity_limits",
    "catastrophic_interference",
    "task_identity",
    "model_kind",
)
UNKNOWN, BACK = "unknown", "back"
LONGEST_LINE = 4095  # bytes; a terminal cuts a typed line here without a word
_SOURCES = {"text": "read from your text", "assumed": "assumed", "file": "stated in the file", "answer": "your answer"}


@dataclass(frozen=True)
class Question:
    """A question as it is put: `leads` holds the verdicts that stay possible after each answer, `optional` marks a follow-up."""

    fact: Fact
    leads: Mapping[str, tuple[str, ...]]
    optional: bool


Answer = Callable[[Question], str]  # a value of the fact, UNKNOWN or BACK
Reading = Callable[[str], tuple[Proposal, ...]]  # a text -> what it proposes
Review = Callable[[Mapping[str, Known]], str | None]  # the known facts -> the id of one to ask again


def converse(
    scenario: Scenario,
    book: Rulebook,
    answer: Answer,
    *,
    given: Mapping[str, str] | None = None,
    review: Review | None = None,
    follow_ups: bool = True,
    reading: Reading = partial(read, asking=True),
) -> tuple[Scenario, Recommendation]:
    """Asks until no question can change the verdict, then the follow-ups; returns the scenario with the answers, and the recommendation.

    `given` are answers made beforehand: they count like any other. `answer` is asked for one fact at a time; BACK takes the answer before
    back. `review` sees all that is known once the verdict needs no more, and names a fact to ask again, an assumed one for instance, or
    none; `reading` reads the text. Every answer can be changed so until the follow-ups begin, and by BACK after that. Errors of both are
    passed on.
    """
    proposals = reading(scenario.text) if scenario.text.strip() else ()
    answers = dict(given or {})
    order: list[str] = []  # of what was asked; `given` can't be taken back
    again: str | None = None
    reviewed = review is None
    while True:
        known = establish(scenario, book, proposals, answers)
        values = {name: fact.value for name, fact in known.items()}
        fact = book.facts[again] if again is not None else _open(values, answers, book)
        if fact is None and not reviewed and review is not None:
            again = review(known)
            reviewed = again is None
            continue
        if fact is None and follow_ups:
            fact = _follow_up(values, answers, book)
        if fact is None:
            return replace(scenario, facts=_stated(scenario, proposals, answers)), recommend(known, book)
        optional = not fact.decisive and again is None
        told = answer(Question(fact, _leads(fact, values, book), optional))
        again = None
        if told == BACK:
            if order:
                answers.pop(order.pop(), None)
            reviewed = review is None
            continue
        answers[fact.id] = told
        order = [name for name in order if name != fact.id] + [fact.id]


def _stated(scenario: Scenario, proposals: Iterable[Proposal], answers: Mapping[str, str]) -> dict[str, str]:
    """The scenario's facts with the answers; "don't know" is among them where without it the text would be read again as it was."""
    read_from_text = {proposal.fact for proposal in proposals}
    both = {**scenario.facts, **answers}
    return {name: value for name, value in both.items() if value != UNKNOWN or name in read_from_text}


def _open(values: Mapping[str, str], answers: Mapping[str, str], book: Rulebook) -> Fact | None:
    return next_question(values, [name for name, value in answers.items() if value == UNKNOWN], book)


def _follow_up(values: Mapping[str, str], answers: Mapping[str, str], book: Rulebook) -> Fact | None:
    """The next refining fact that is open and can still change the advice; none where nothing is recommended yet or nothing is shared."""
    verdicts = possible_verdicts(values, book)
    if len(verdicts) > 1 or verdicts == ("out_of_scope",):
        return None
    for name in FOLLOW_UPS:
        if name in book.facts and name not in values and name not in answers:
            fact = book.facts[name]
            if len({_advice({**values, "verdict": verdicts[0], name: value}, book) for value in fact.values}) > 1:
                return fact
    return None


def _advice(known: Mapping[str, str], book: Rulebook) -> tuple[tuple[str, ...], ...]:
    return tuple(applying(kind, known, book) for kind in ("mitigations", "pitfalls", "parallels", "evidence"))


def _leads(fact: Fact, values: Mapping[str, str], book: Rulebook) -> dict[str, tuple[str, ...]]:
    if not fact.decisive:
        return {}
    return {value: possible_verdicts({**values, fact.id: value}, book) for value in fact.values}


def from_file(answers: Mapping[str, str], book: Rulebook) -> Answer:
    """Answers out of a file, checked; to be passed as `given` too. A decisive fact that is not in it raises MissingAnswer when asked."""
    for name, value in answers.items():
        check(
            name, next(iter(book.facts[name].values), "1") if value == UNKNOWN and name in book.facts else value, book
        )

    def answer(question: Question) -> str:
        fact = question.fact
        if not fact.decisive:
            return UNKNOWN
        raise MissingAnswer(
            f"the question `{fact.id}` is open: {fact.question}",
            hint=f"add {fact.id}: {' | '.join((*fact.values, UNKNOWN))}",
        )

    return answer


def typed_line(console: Console, prompt: str = "> ") -> str:
    """One line from the terminal, stripped, in letters that can be saved again. The end of the input and Ctrl-C pass on."""
    while True:
        try:
            line = console.input(prompt)
        except UnicodeDecodeError:
            console.print(Text("  that was no readable text, once more please", style="yellow"))
            continue
        return line.encode("utf-8", "replace").decode().strip()


def description(console: Console) -> str:
    """A text of several lines that ends with an empty one; empty if the first line is."""
    lines: list[str] = []
    while line := typed_line(console, "> " if not lines else ". "):
        if len(line.encode()) >= LONGEST_LINE:
            hint = f"  a line ends after {LONGEST_LINE} bytes here: break it, or give the text as a file"
            console.print(Text(hint, style="yellow"))
        lines.append(line)
    return "\n".join(lines)


def from_terminal(console: Console, book: Rulebook) -> Answer:
    """Answers typed in a terminal: a number, `u` don't know, `b` back, `?` why this is asked; Enter or `s` skips a follow-up or all."""
    skipped = False
    asked_follow_up = False

    def answer(question: Question) -> str:
        nonlocal skipped, asked_follow_up
        fact = question.fact
        if skipped and question.optional:
            return UNKNOWN
        if question.optional and not asked_follow_up:
            asked_follow_up = True
            console.print(
                Text("\nThe verdict stands. These refine the advice; Enter skips one, s skips the rest.", "dim")
            )
        console.print(Text(f"\n{fact.question}", style="bold"))
        _listed(console, [(str(n), fact.labels[value]) for n, value in enumerate(fact.values, 1)])
        keys = "u don't know, b back, ? why"
        console.print(Text(f"  {keys}, Enter skip, s skip the rest" if question.optional else f"  {keys}", style="dim"))
        while True:
            typed = typed_line(console).lower()
            if fact.values and typed.isdecimal() and 1 <= int(typed[:9]) <= len(fact.values):
                return fact.values[int(typed) - 1]
            if typed not in ("", UNKNOWN) and fact.accepts(typed):
                return typed
            if typed in ("u", UNKNOWN) or (question.optional and typed in ("", "s")):
                skipped = skipped or typed == "s"
                return UNKNOWN
            if typed in ("b", BACK):
                return BACK
            if typed == "?":
                _why(console, question, book)
            else:
                allowed = f"1 to {len(fact.values)}" if fact.values else f"a number up to {fact.maximum}"
                said = f"“{printable(typed)[:40]}” is none of" if typed else "please type one of"
                console.print(Text(f"  {said} {allowed}, u, b, ?", style="yellow"))

    return answer


def _why(console: Console, question: Question, book: Rulebook) -> None:
    hanging(console, " ", question.fact.why)
    verdicts = book.entries["verdicts"]
    rows = [
        (f"{number} ->", ", ".join(str(verdicts[verdict]["label"]) for verdict in question.leads[value]))
        for number, value in enumerate(question.fact.values, 1)
        if value in question.leads
    ]
    _listed(console, rows)
    if rows:
        console.print(Text("  The order of the answers says nothing.", style="dim"))


def _listed(console: Console, rows: list[tuple[str, str]]) -> None:
    """Rows of a short mark and a text that wraps beside it."""
    for mark, words in rows:
        hanging(console, f"  {mark}", words)


def review_in_terminal(console: Console, book: Rulebook) -> Review:
    """Shows every known fact with where it came from, assumptions apart, and lets the user change one; an empty line goes on."""

    def review(known: Mapping[str, Known]) -> str | None:
        decisive = sorted(known, key=lambda name: (known[name].source == "assumed", not book.facts[name].decisive))
        if not decisive:
            return None
        console.print(Text("\nThis is what the answer rests on. A number changes a line, Enter goes on.", style="bold"))
        shown_assumed = False
        for number, name in enumerate(decisive, 1):
            fact, is_assumed = book.facts[name], known[name].source == "assumed"
            if is_assumed and not shown_assumed:
                shown_assumed = True
                console.print(Text("Assumed, for nothing was said; overrule what is wrong:", style="bold"))
            value = fact.labels.get(known[name].value, known[name].value)
            words = [shorten(printable(span.text), 80, placeholder=" …") for span in known[name].evidence]
            heard = ": " + ", ".join(f"“{said}”" for said in words) if words else ""
            _listed(console, [(str(number), f"{fact.question} {value} ({_SOURCES[known[name].source]}{heard})")])
        while typed := typed_line(console):
            if typed.isdecimal() and 1 <= int(typed[:9]) <= len(decisive):
                return decisive[int(typed) - 1]
            console.print(Text(f"  a number from 1 to {len(decisive)}, or Enter", style="yellow"))
        return None

    return review
