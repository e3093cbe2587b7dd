"""The sections of an explanation, each made from the recommendation, its decision record and the rules."""

from collections.abc import Callable, Iterable, Mapping

from ..engine import Decision, Recommendation, applying, decide, evidence_for
from ..facts import Known
from ..questions import next_question
from ..rulebook import Entry, Rulebook, alternatives
from .model import Line, Section, percent, printable

_FINDINGS = 3  # shown of each direction; a reader wants the strongest, not fifty
_SOURCES = {"text": "read", "assumed": "assumed", "file": "stated in the file", "answer": "answered"}
_STRENGTHS = ("strong", "mixed", "opinion")
_READ = {"paper": "read in the paper", "second_hand": "second hand", "measured_here": "measured here"}


def sections(r: Recommendation, book: Rulebook) -> tuple[Section, ...]:
    """All that applies, in reading order; a section without a line is left out."""
    record = decide(r.values, book)
    found = [
        Section("What was understood", _facts(r, lambda known: known.source != "assumed", book)),
        Section(
            "Assumed; overrule what is wrong: advisor ask", _facts(r, lambda known: known.source == "assumed", book)
        ),
        Section("Not found", tuple(Line(f"{name}: {book.facts[name].question}") for name in r.missing)),
        _missing(r, record, book),
        _why(r, record, book),
        _others(record, r, book),
        _changes(r, book),
        Section("Pitfalls", tuple(_pitfall(i, r, book) for i in r.pitfalls)),
        Section("Worth knowing", _worth_knowing(r, book)),
        Section("Mitigations, the simplest first", _mitigations(r, book)),
        _parallel(r, book),
        Section("Evidence from the literature, for (+) and against (-)", _evidence(r, book)),
        Section("Next", (Line(str(book.entries["verdicts"][r.verdict]["next"])),)),
    ]
    return tuple(section for section in found if section.lines)


# --- what was understood --------------------------------------------------------------------------------------------------------


def numbers(r: Recommendation) -> dict[str, int]:
    """The number of each fact that was read from words of the text, in the order in which the words stand there."""
    read = [name for name, known in r.facts.items() if known.evidence]
    order = sorted(read, key=lambda name: (min(s.start for s in r.facts[name].evidence), name))
    return {name: number for number, name in enumerate(order, 1)}


def marks(r: Recommendation) -> tuple[tuple[int, int, str], ...]:
    """(start, end, numbers) of all evidence in order; words that overlap are marked once, with the numbers of all their facts."""
    of = numbers(r)
    spans = sorted((s.start, s.end, of[name]) for name, known in r.facts.items() for s in known.evidence)
    kept: list[tuple[int, int, set[int]]] = []
    for start, end, number in spans:
        if kept and start < kept[-1][1]:
            first, last, had = kept.pop()
            kept.append((first, max(last, end), had | {number}))
        else:
            kept.append((start, end, {number}))
    return tuple((start, end, ",".join(map(str, sorted(had)))) for start, end, had in kept)


def _facts(r: Recommendation, wanted: Callable[[Known], bool], book: Rulebook) -> tuple[Line, ...]:
    of = numbers(r)
    names = sorted(
        (n for n in r.facts if wanted(r.facts[n])), key=lambda n: (of.get(n, 0), not book.facts[n].decisive, n)
    )
    lines = []
    for name in names:
        known, fact = r.facts[name], book.facts[name]
        sure = f", {percent(known.confidence)} sure" if known.confidence < 1 else ""
        said = quoted(known) or fact.labels.get(known.value, known.value)
        mark = f"[{of[name]}]" if name in of else ""
        lines.append(Line(f"{name} = {known.value} ({_SOURCES[known.source]}{sure}): {said}", mark=mark))
    return tuple(lines)


def quoted(known: Known) -> str:
    """The words that a fact was read from, on one line."""
    return ", ".join(f"“{' '.join(printable(span.text).split())}”" for span in known.evidence)


# --- the decision record --------------------------------------------------------------------------------------------------------


def _label(verdict: str, book: Rulebook) -> str:
    return str(book.entries["verdicts"][verdict]["label"])


def _labels(verdicts: Iterable[str], book: Rulebook) -> str:
    return ", ".join(_label(verdict, book) for verdict in verdicts)


def _cells(names: Iterable[str], values: Mapping[str, str]) -> str:
    return ", ".join(f"{name} = {values[name]}" for name in names)


def _missing(r: Recommendation, record: Decision, book: Rulebook) -> Section:
    """While undecided: what is still possible, the question that helps most, and where each answer leads."""
    if r.verdict != "undecided":
        return Section("", ())
    lines = [Line(f"Still possible: {_labels(r.possible, book)}.")]
    if r.framing != "undecided":
        lines.append(Line(f"Whichever it is, the framing is decided: {r.framing.replace('_', '-')}."))
    question = next_question(r.values, (), book)
    if question is not None:
        leads = next(fact.leads for fact in record.open if fact.fact == question.id)
        choices = tuple(f"{question.labels[value]} -> {_labels(verdicts, book)}" for value, verdicts in leads.items())
        lines.append(Line(f"The question that helps most: {question.question}", choices))
    return Section("What would settle it", tuple(lines))


def _why(r: Recommendation, record: Decision, book: Rulebook) -> Section:
    if r.rule is None and r.verdict == "undecided":
        return Section("", ())
    lines = []
    for rule in record.rules if r.rule is None else (r.rule,):
        entry = book.entries["settings"][rule]
        lines += [Line(str(entry["because"])), Line(f"Limits: {entry['limits']}")]
    if record.forced_by:
        sets = " or ".join(_cells(names, r.values) for names in record.forced_by)
        lines.append(Line(f"Enough for it by itself: {sets}"))
    rules = " or ".join(record.rules if r.rule is None else (r.rule,))
    return Section(f"Why (rule {rules})", tuple(lines))


def _others(record: Decision, r: Recommendation, book: Rulebook) -> Section:
    lines = tuple(
        Line(f"{_label(out.verdict, book)}: excluded by {_cells(out.by[0], r.values)}") for out in record.excluded
    )
    return Section("Why not the others" if r.verdict != "undecided" else "Already excluded", lines)


def _changes(r: Recommendation, book: Rulebook) -> Section:
    lines = tuple(Line(f"{a.fact} = {a.value} -> {_label(a.recommendation, book)}") for a in r.alternatives)
    return Section("What would change it", lines)


# --- pitfalls, mitigations, parallel --------------------------------------------------------------------------------------------


def _pitfall(pitfall: str, r: Recommendation, book: Rulebook) -> Line:
    """A mistake with the fact against it, and why it is named: the writer's words, or the facts that invite it."""
    entry = book.entries["pitfalls"][pitfall]
    known = {**r.values, "verdict": r.verdict}
    met = next((w for w in _conditions(entry) if all(known.get(n) in allowed for n, allowed in w.items())), {})
    words = [quoted(r.facts[name]) for name in met if name in r.facts and r.facts[name].evidence]
    facts = [f"{name} = {known[name]}" for name in met if name in known]
    because = (f"You wrote {', '.join(words)}",) if words else (f"Named because {', '.join(facts)}",) if facts else ()
    return Line(f"{pitfall}: {entry['mistake']}. {entry['truth']}", because)


def _conditions(entry: Entry) -> list[Mapping[str, list[str]]]:
    """What shows the mistake, then what merely invites it."""
    return [*alternatives(entry), *entry.get("invites", [])]


def _worth_knowing(r: Recommendation, book: Rulebook) -> tuple[Line, ...]:
    """The mistakes that the scenario invites and that nothing shows its writer to make."""
    known = {**r.values, "verdict": r.verdict}
    lines = []
    for i, entry in book.entries["pitfalls"].items():
        invited = any(all(known.get(n) in v for n, v in when.items()) for when in entry.get("invites", []))
        if invited and i not in r.pitfalls:
            lines.append(Line(f"{i}: {entry['truth']}"))
    return tuple(lines)


def _mitigations(r: Recommendation, book: Rulebook) -> tuple[Line, ...]:
    """Each concern with what helps against it in the order of the literature, and the findings on it."""
    lines = []
    findings = _sorted(evidence_for(r, book))
    for concern in r.concerns:
        entry = book.entries["mitigations"][concern]
        known = r.facts.get(concern)
        heard = f" You wrote {quoted(known)}." if known is not None and known.evidence else ""
        lines.append(Line(f"{concern}: {entry['because']}{heard}"))
        steps = sorted([*entry.get("before", []), *entry["options"]], key=lambda step: int(step.get("step", 9)))
        for number, step in enumerate((s for s in steps if not _is_done(s, r.values)), 1):
            backing = [book.entries["evidence"][i] for i in step.get("evidence", []) if i in book.entries["evidence"]]
            is_option = step in entry["options"]
            details = (_finding(e) if is_option else f"Why so early: {_finding(e)[2:]}" for e in backing)
            lines.append(Line(str(step["label"]), tuple(details), mark=f"{number}."))
        others = [
            e for e in findings if concern in _facts_of(e) and not any(e["id"] in s.get("evidence", []) for s in steps)
        ]
        lines += [Line(_finding(e)[2:], mark=_sign(e)) for e in others[:2]]
    return tuple(lines)


def _is_done(step: Mapping[str, Mapping[str, list[str]]], values: Mapping[str, str]) -> bool:
    """Whether the facts say that a step is taken already, as showing the task id is where the identity is observed."""
    done = step.get("done", {})
    return bool(done) and all(values.get(name) in allowed for name, allowed in done.items())


def _parallel(r: Recommendation, book: Rulebook) -> Section:
    found = applying("parallels", {**r.values, "verdict": r.verdict}, book)
    entries = [book.entries["parallels"][i] for i in found]
    return Section(
        "In foundation models",
        tuple(Line(f"{entry['meta_rl']} corresponds to {entry['foundation_models']}.") for entry in entries),
    )


# --- evidence -------------------------------------------------------------------------------------------------------------------


def _sorted(findings: Iterable[Entry]) -> list[Entry]:
    """The strongest first; of equals, what was read in the paper, and what speaks of more of the scenario's facts."""
    return sorted(
        findings, key=lambda e: (_STRENGTHS.index(str(e["strength"])), e["read"] != "paper", -len(_facts_of(e)))
    )


def _facts_of(entry: Entry) -> set[str]:
    """The facts that an entry's condition speaks of."""
    return {name for when in alternatives(entry) for name in when}


def _sign(entry: Entry) -> str:
    return "+" if entry["direction"] == "for" else "-"


def _finding(entry: Entry) -> str:
    read = _READ.get(str(entry["read"]), str(entry["read"]))
    return f"{_sign(entry)} {entry['claim']} ({', '.join(entry['source'])}; {entry['strength']}; {read})"


def _evidence(r: Recommendation, book: Rulebook) -> tuple[Line, ...]:
    """The strongest findings on the recommended family, as many on either side; those on a concern stand with its mitigations."""
    if r.verdict == "undecided":
        return ()
    findings = [
        e for e in _sorted(evidence_for(r, book)) if not any(c in e["when"] for c in book.entries["mitigations"])
    ]
    lines = []
    for direction in ("for", "against"):
        for e in [e for e in findings if e["direction"] == direction][:_FINDINGS]:
            lines.append(Line(_finding(e)[2:], (f"Limits: {e['limits']}",), mark=_sign(e)))
    if len(findings) > len(lines):
        lines.append(Line(f"{len(findings) - len(lines)} more bear on it: advisor rules list evidence"))
    return tuple(lines)
