"""Recommendation -> Plan: which small task family stands in for the user's environment, and what is trained on it. Data first, no torch.

rules/stand_ins.toml chooses the family and its parameters from the facts, families.py knows what it takes to be trained on,
candidates.py who is compared. All trainings of a plan are given the same number of environment steps, and all candidates the same
episodes to adapt in; `tests/fit/test_train.py` counts them.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace

from ..engine import Recommendation
from ..errors import AdvisorError, NoProject, RulesError, nearest
from ..rulebook import Rulebook, holds, load
from ..rulebook.model import Entry
from .candidates import Candidate, admit, candidates_of
from .concerns import Asked, asked
from .families import FAMILIES, REMEMBERED, Settings, sized

__all__ = ["SEEDS", "Candidate", "Plan", "StandIn", "make", "planned", "stand_ins", "to_measure"]

SEEDS = {"smoke": 3, "standard": 5}  # the budgets, by the number of seeds that they give


@dataclass(frozen=True)
class StandIn:
    """One task family with the candidates that are compared on it."""

    id: str  # of its entry in rules/stand_ins.toml
    verdict: str
    family: str  # module:class under reference_impls.tasks
    sentence: str
    candidates: tuple[Candidate, ...]
    test: Settings  # how adaptation runs at test time: so many episodes in each of so many gradient steps, or in memory
    left_out: tuple[str, ...] = ()
    family_settings: Settings = field(default_factory=dict)
    tasks: int = 40  # held-out tasks per seed; 0: the family's catalogue
    pool: int = 1  # tasks averaged to one score: more where a single return is mostly luck
    scored: str = "last"  # the stage that counts: the last, or the mean of all
    stage: str = "episode"  # what a stage of adaptation is called
    distances: bool = True  # tasks can be drawn at any distance from the training distribution
    to_shift: str = ""  # where they can't: what would make it possible


@dataclass(frozen=True)
class Plan:
    """What is going to be run: a stand-in, made to measure. `refused` holds candidates that the scenario's limits forbid, with the reason."""

    verdict: str
    stand_in: str
    row: StandIn
    candidates: tuple[Candidate, ...]
    refused: Mapping[str, str]
    settings: Mapping[str, Settings]  # training -> settings
    budget: str
    seeds: int
    concerns: Asked | None = None  # of multi-task training, to be diagnosed; None: nothing is


def stand_ins(book: Rulebook, facts: Mapping[str, str]) -> Iterator[StandIn]:
    """The stand-ins whose conditions hold, the one to be taken first, made to the measure of the facts; `facts` hold the verdict, too.

    A rulebook without any has the shipped ones. Raises RulesError for a family that there is none of.
    """
    entries = book.entries["stand_ins"] or load().entries["stand_ins"]
    for i, entry in sorted(entries.items(), key=lambda item: (item[1]["priority"], item[0])):
        if entry["family"] not in FAMILIES:
            hint = nearest(entry["family"], FAMILIES) or f"families: {', '.join(FAMILIES)}"
            raise RulesError(
                f"no family is called `{entry['family'][:80]}`", f"{book.folder / 'stand_ins.toml'}, {i}", hint
            )
        if holds(entry["when"], facts):
            yield to_measure(i, entry, facts)


def to_measure(i: str, entry: Entry, facts: Mapping[str, str]) -> StandIn:
    """The stand-in of an entry with the sizes that the facts give, within what trains in seconds."""
    family, verdict = FAMILIES[entry["family"]], facts["verdict"]
    parameters = dict(entry.get("parameters", {}))
    left_out = ["the scenario's own observations, actions and dynamics", *entry["left_out"]]
    for count in entry.get("counts", []):
        if count["fact"] in facts:
            asked = int(facts[count["fact"]])
            parameters[count["parameter"]] = size = min(max(asked, count["minimum"]), count["maximum"])
            if asked > size:
                left_out.append(f"all but {size} of its {asked} {count['parameter']}")
    adapt = entry["adapt"]
    episodes = min(int(facts.get("adaptation_episodes", adapt["default"])), adapt["most"])
    if adapt.get("a_step"):  # the episodes are shared out over the gradient steps
        steps = max(1, episodes // adapt["a_step"])
        test = {"steps": steps, "episodes": max(2, min(adapt["a_step"], episodes // steps))}
    else:
        test = {"steps": 1, "episodes": episodes}
    if facts.get("reward") == "sparse":
        left_out.append("the sparse reward")
    if facts.get("observation_kind") == "image":
        left_out.append("images")
    if facts.get("model_kind") == "foundation_model":
        left_out.append("the foundation model, in whose place a small network was trained")
    if facts.get("action_kind", "") not in ("", "discrete" if family.discrete else "continuous"):
        left_out.append(f"{facts['action_kind']} actions")
    return StandIn(
        id=i,
        verdict=verdict,
        family=family.path,
        sentence=entry["says"].format(**parameters),
        candidates=candidates_of(verdict, entry["family"], family),
        test=test,
        left_out=tuple(left_out),
        family_settings=parameters,
        tasks=0 if family.known else family.tasks,
        pool=family.pool,
        scored=family.scored,
        stage="gradient step" if verdict == "maml" else family.stage,
    )


def make(
    recommendation: Recommendation, family: str | None = None, budget: str = "smoke", seeds: int | None = None,
    book: Rulebook | None = None, own: bool = False,
) -> Plan:  # fmt: skip
    """The plan for a recommendation; `family` fits that family in place of the recommended verdict, `book` chooses the stand-in.

    `own`: the user's own environment will be put in the stand-in's place, so one that no environment can replace is passed over.

    Raises NoProject where there is nothing to train (undecided, out of scope), AdvisorError for an unknown family or budget and for
    fewer than two seeds, RulesError for a stand-in of an unknown family.
    """
    verdict = family or recommendation.verdict
    facts = recommendation.values
    if budget not in SEEDS:
        raise AdvisorError(
            f"no budget is called `{budget[:80]}`", hint=f"{nearest(budget, SEEDS)} budgets: {', '.join(SEEDS)}".strip()
        )
    if seeds is not None and seeds < 2:
        raise AdvisorError("a fit needs at least 2 seeds", hint="one training run says nothing about the next")
    if verdict == "undecided":
        raise NoProject(
            "the verdict is still open, so there is nothing to fit yet; possible: "
            + ", ".join(recommendation.possible),
            hint="answer the next question with: advisor ask, or give the missing facts: "
            + ", ".join(recommendation.missing),
        )
    if verdict == "out_of_scope":
        raise NoProject(
            "nothing here is learned across tasks, so there is no multi-task or meta-learner to fit",
            hint="ordinary single-task training is the right tool; if there are more tasks, say so in the scenario",
        )
    book = book or load()
    found = stand_ins(book, {**facts, "verdict": verdict})
    row = next((r for r in found if not (own and r.family.startswith("in_context:"))), None)
    if row is None:
        known = {v for entry in load().entries["stand_ins"].values() for v in entry["when"]["verdict"]}
        raise AdvisorError(f"no stand-in for `{verdict[:80]}`", hint=nearest(verdict, known))
    gradients = facts.get("adaptation_gradients", "allowed" if verdict == "maml" else "not_allowed") == "allowed"
    if family == "maml" and not gradients:
        raise NoProject(
            "MAML can't be fitted: needs gradient steps at test time, which this scenario rules out",
            hint="without gradients at test time the families are rl2 and pearl",
        )
    plan = planned(row, facts, gradients, budget, seeds or SEEDS[budget])
    if verdict != "multi_task":
        return plan
    mitigations = book.entries["mitigations"] or load().entries["mitigations"]
    told = next(c.told for c in plan.candidates if c.role == "recommended")
    return replace(plan, concerns=asked(facts, mitigations, budget, int(row.family_settings["tasks"]), told))


def planned(row: StandIn, facts: Mapping[str, str], gradients: bool, budget: str, seeds: int) -> Plan:
    """The plan of a stand-in: who is admitted, and how long everybody is trained."""
    family = next(f for f in FAMILIES.values() if f.path == row.family)
    if row.verdict == "multi_task" and facts.get("task_identity") == "hidden":
        row = replace(row, candidates=_untold(row.candidates))
    adapt = row.test["steps"] * row.test["episodes"]
    candidates, refused = admit(row.candidates, facts, family, adapt, gradients)
    row = replace(row, candidates=candidates)
    admitted = tuple(c for c in row.candidates if c.name not in refused)
    known = int(row.family_settings.get("tasks", 0))
    remembered = min(adapt, REMEMBERED) if row.stage == "gradient step" else adapt
    return Plan(
        verdict=row.verdict,
        stand_in=_says(row),
        row=row,
        candidates=admitted,
        refused=refused,
        settings={
            c.training: sized(family, c.training, budget, known, remembered, row.test, row.verdict == "none_reliable")
            for c in admitted
            if c.training != "references"
        },
        budget=budget,
        seeds=seeds,
    )


def _untold(candidates: tuple[Candidate, ...]) -> tuple[Candidate, ...]:
    """The policy that isn't told its task put forward, where no policy can be told."""
    told, hidden, *others = candidates
    return (
        replace(
            hidden, name="multi-task, task hidden", role="recommended", says="one policy for all tasks, not told which"
        ),
        replace(told, role="control"),
        *others,
    )


def _says(row: StandIn) -> str:
    """One sentence: what was trained, that it is not the user's environment, and what was left out."""
    what = row.sentence
    if row.verdict == "maml":  # who wins depends on it: more steps favour fine-tuning
        steps, episodes = row.test["steps"], row.test["episodes"]
        what += f", scored after {steps} gradient step{'s' if steps > 1 else ''} on {episodes} episodes each"
    return f"A stand-in, not your environment: {what}; left out: {', '.join(row.left_out)}."
