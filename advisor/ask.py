"""The questions and answers in a terminal: decides nothing, asks what questions.py says and keeps what was answered."""

from collections.abc import Callable, Mapping
from dataclasses import replace

from rich.console import Console
from rich.text import Text

from .engine import Recommendation, possible_verdicts, recommend
from .errors import MissingAnswer
from .explain import printable
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
Answer = Callable[[Fact], str]  # a value, or one of: unknown, back
Review = Callable[[Mapping[str, Known]], str | None]  # the known facts -> the id of one to ask again


def converse(
    scenario: Scenario, book: Rulebook, answer: Answer, follow_ups: bool = True, review: Review | None = None
) -> tuple[Scenario, Recommendation]:
    """Asks until no question can change the verdict, then the follow-ups; returns the scenario with the answers, and the recommendation.

    `answer` is asked for one fact at a time; `back` returns to the question before. `review` sees all known facts, first those read
    from the text, and names one that shall be asked again, an assumed one for instance, or none. Errors of both are passed on.
    """
    proposals = read(scenario.text) if scenario.text.strip() else ()
    answers: dict[str, str] = {}
    order: list[str] = []
    while True:
        values = _values(scenario, proposals, answers, book)
        fact = next_question(values, [n for n, v in answers.items() if v == "unknown"], book)
        if fact is None and follow_ups and len(possible_verdicts(values, book)) == 1:
            fact = next(
                (book.facts[n] for n in FOLLOW_UPS if n in book.facts and n not in values and n not in answers), None
            )
        if fact is None:
            again = review(establish(scenario, book, proposals, answers)) if review is not None else None
            if again is None:
                break
            fact = book.facts[again]
        given = answer(fact)
        if given == "back":
            if order:
                answers.pop(order.pop(), None)
            continue
        answers[fact.id] = given
        if fact.id in order:
            order.remove(fact.id)
        order.append(fact.id)
    known = establish(scenario, book, proposals, answers)
    said = {n: v for n, v in answers.items() if v != "unknown"}
    return replace(scenario, facts={**scenario.facts, **said}), recommend(known, book)


def _values(
    scenario: Scenario, proposals: tuple[Proposal, ...], answers: Mapping[str, str], book: Rulebook
) -> dict[str, str]:
    return {name: known.value for name, known in establish(scenario, book, proposals, answers).items()}


def from_file(answers: Mapping[str, str], book: Rulebook) -> Answer:
    """Answers out of a file. A decisive fact that is not in it raises MissingAnswer; a follow-up counts as not known."""
    for name, value in answers.items():
        if value != "unknown":
            check(name, value, book, "answers")

    def answer(fact: Fact) -> str:
        if fact.id in answers:
            return answers[fact.id]
        if fact.decisive:
            raise MissingAnswer(
                f"the question `{fact.id}` is open: {fact.question}",
                hint=f"add {fact.id}: {' | '.join((*fact.values, 'unknown'))}",
            )
        return "unknown"

    return answer


def from_terminal(console: Console) -> Answer:
    """Answers typed in a terminal: a number, `u` don't know, `b` back, `?` why this is asked, `s` to skip the rest of the follow-ups."""
    skipped = False

    def answer(fact: Fact) -> str:
        nonlocal skipped
        if skipped and not fact.decisive:
            return "unknown"
        console.print(Text(f"\n{fact.question}", style="bold"))
        for number, value in enumerate(fact.values, 1):
            console.print(Text(f"  {number}  {fact.labels[value]}"))
        extra = "" if fact.decisive else ", s skip the rest"
        console.print(Text(f"  u don't know, b back, ? why{extra}", style="dim"))
        while True:
            typed = console.input("> ").strip().lower()
            if typed.isdecimal() and 1 <= int(typed) <= len(fact.values):
                return fact.values[int(typed) - 1]
            if typed in fact.values:
                return typed
            if typed in ("u", "unknown", "") or (typed == "s" and not fact.decisive):
                skipped = skipped or typed == "s"
                return "unknown"
            if typed in ("b", "back"):
                return "back"
            if typed == "?":
                console.print(Text(f"  {fact.why}"))
            else:
                console.print(
                    Text(f"  “{printable(typed)[:40]}” is none of 1 to {len(fact.values)}, u, b, ?", style="yellow")
                )

    return answer


def review_in_terminal(console: Console, book: Rulebook) -> Review:
    """Shows every known fact with where it came from, and lets the user change one; an empty line goes on."""

    def review(known: Mapping[str, Known]) -> str | None:
        names = [name for name in known if book.facts[name].values]
        if not names:
            return None
        console.print(Text("\nThis is what the answer rests on. A number changes a line, Enter goes on.", style="bold"))
        for number, name in enumerate(names, 1):
            fact, source = (
                book.facts[name],
                {"text": "read", "file": "stated"}.get(known[name].source, known[name].source),
            )
            console.print(Text(f"  {number}  {fact.question} {fact.labels[known[name].value]} ({source})"))
        while typed := console.input("> ").strip():
            if typed.isdecimal() and 1 <= int(typed) <= len(names):
                return names[int(typed) - 1]
            console.print(Text(f"  a number from 1 to {len(names)}, or Enter", style="yellow"))
        return None

    return review
