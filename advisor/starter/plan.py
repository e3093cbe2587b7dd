"""What the project is made of: the stand-in environment, the settings and the caveats that follow from the facts."""

from collections.abc import Mapping
from dataclasses import dataclass

from ..engine import Recommendation
from ..errors import NoProject, UnknownEntry, nearest
from ..questions import next_question
from ..rulebook import Rulebook


@dataclass(frozen=True)
class Plan:
    """The choices for one project. Everything here is code or words of our own: nothing of the user's text reaches it."""

    family: str  # the algorithm: name of its file in reference_impls
    module: str  # the module of the task family in reference_impls/tasks
    environment: str  # the class in it
    arguments: str  # of the class, as Python
    config: str  # the algorithm's settings, a Python expression
    stages: int  # episodes or gradient steps to adapt in on each held-out task
    test_tasks: int
    quick: int  # iterations in which the project's own test shows learning
    margin: float  # by which it does, of the way from chance to an agent that was told the task
    notes: tuple[str, ...]  # where the stand-in differs from the scenario, and what was chosen because of a fact


def choose(recommendation: Recommendation, book: Rulebook, family: str | None) -> Plan:
    """The plan for the recommended family, or for `family` where the user insists on one.

    Raises NoProject where the verdict names no family, and UnknownEntry for a family that there is no implementation of.
    """
    known = {str(v["family"]) for v in book.entries["verdicts"].values() if v["family"]}
    if family is None:
        family = str(book.entries["verdicts"][recommendation.verdict]["family"])
        if not family:
            raise _nothing_to_write(recommendation, book)
    if family not in known or family not in _PLANS:
        hint = f"{nearest(family, sorted(known))} families: {', '.join(sorted(known))}".strip()
        raise UnknownEntry(f"no family is called `{family[:80]}`", hint=hint)
    return _PLANS[family](recommendation.values)


def _nothing_to_write(recommendation: Recommendation, book: Rulebook) -> NoProject:
    entry = book.entries["verdicts"][recommendation.verdict]
    insist = "to get a project all the same, name a family: --family multi_task|maml|rl2|pearl"
    if recommendation.verdict != "undecided":
        return NoProject(
            f"no project for `{recommendation.verdict}`. {entry['headline']}", hint=f"{entry['next']} {insist}"
        )
    labels = [str(book.entries["verdicts"][v]["label"]) for v in recommendation.possible]
    question = next_question(recommendation.values, (), book)
    ask = ""
    if question is not None:
        values = " | ".join(question.values)
        ask = f"one answer would help: {question.question} ({question.id}: {values}); "
    return NoProject(f"no project yet, for several answers are still possible: {', '.join(labels)}", hint=ask + insist)


def _multi_task(facts: Mapping[str, str]) -> Plan:
    notes = _differences(
        facts, "continuous", "a robot that is a point and moves to goals on a circle, each goal a task"
    )
    tasks, cut = _count(facts, "task_count", 10, 2, 20)
    notes += [f"The stand-in has {tasks} tasks, not {facts['task_count']}, to train in seconds."] if cut else []
    arguments, config = f"tasks={tasks}", []
    if facts.get("gradient_interference") == "present":
        config.append("surgery=True")
        notes.append("Gradient surgery (PCGrad) is on, because tasks pull the shared weights in opposing directions.")
    if facts.get("capacity_limits") == "present":
        config.append("hidden=(128, 128)")
        notes.append("The network has twice the reference's width, because one that is too small holds the tasks back.")
    if facts.get("task_imbalance") == "present":
        config.append("normalise_rewards=True")
        notes.append("Each task's rewards are divided by their spread, because some tasks would dominate otherwise.")
    if facts.get("catastrophic_interference") == "present":
        notes.append(
            "Every update rehearses all tasks from their replay memory, which is what keeps earlier ones alive."
        )
    if facts.get("task_identity") == "hidden":
        notes.append(
            "The policy here is told its task, and in your scenario it is not. Find a way to show it, or the best that one "
            "policy can be is a compromise; inferring the task is what PEARL and RL² are for."
        )
    return Plan("multi_task", "catalogue", "Catalogue", arguments, _call(config), 1, tasks, 30, 0.5, tuple(notes))


def _maml(facts: Mapping[str, str]) -> Plan:
    notes = _differences(facts, "continuous", "2D navigation, the goal unknown and new in each task")
    budget, cut = _count(facts, "adaptation_episodes", 60, 1, 60)
    if facts.get("reward") == "sparse":
        notes.append("A gradient has nothing to follow where no reward is found: measure this before you rely on MAML.")
    if "adaptation_episodes" not in facts:
        return Plan("maml", "navigation", "Navigation", "", _call([]), 3, 100, 20, 0.25, tuple(notes))
    episodes = min(budget, 20)
    stages = budget // episodes
    if cut:
        notes.append(f"It adapts in {budget} episodes, not {facts['adaptation_episodes']}, to train in seconds.")
    notes.append(
        f"A new task costs {stages * episodes} episodes: {stages} gradient step{'s' * (stages > 1)} on {episodes} each, "
        "and training plays the same number before its step."
    )
    return Plan(
        "maml", "navigation", "Navigation", "", _call([f"episodes={episodes}"]), stages, 100, 20, 0.25, tuple(notes)
    )


def _rl2(facts: Mapping[str, str]) -> Plan:
    notes = _differences(facts, "discrete", "Bernoulli bandits, the winning probabilities new in each task")
    episodes, cut = _count(facts, "adaptation_episodes", 10, 2, 20)
    if cut:
        notes.append(f"A trial has {episodes} episodes, not {facts['adaptation_episodes']}, to train in seconds.")
    config = _call([f"episodes={episodes}"])
    return Plan("rl2", "bandit", "Bandit", f"pulls={episodes}", config, episodes, 2000, 200, 0.3, tuple(notes))


def _pearl(facts: Mapping[str, str]) -> Plan:
    stages, cut = _count(facts, "adaptation_episodes", 4, 2, 20)
    cut_note = [f"The curve shows {stages} episodes, not {facts['adaptation_episodes']}."] if cut else []
    if facts.get("action_kind") == "discrete":
        notes = _differences(
            facts, "discrete", "a diagnosis, each patient a task: tests narrow the belief before the answer"
        )
        notes.append("A case is one episode, and the belief adapts within it; each stage of the curve is a fresh case.")
        return Plan("pearl", "diagnosis", "Diagnosis", "", "Config.for_family(FAMILY)", 4, 2000, 20, 0.5, tuple(notes))
    notes = _differences(facts, "continuous", "a robot that is a point, its goal somewhere on a half circle and hidden")
    return Plan("pearl", "semicircle", "Semicircle", "", _call([]), stages, 500, 14, 0.4, tuple(notes + cut_note))


_PLANS = {"multi_task": _multi_task, "maml": _maml, "rl2": _rl2, "pearl": _pearl}


def _differences(facts: Mapping[str, str], actions: str, what: str) -> list[str]:
    """How the stand-in differs from the scenario, as far as the facts tell."""
    notes = [f"The environment is a stand-in: {what}. Actions are {actions}."]
    if facts.get("action_kind", actions) != actions:
        notes.append(f"Your actions are {facts['action_kind']}, those of the stand-in are not.")
    if facts.get("observation_kind") == "image":
        notes.append("You observe images. Put an encoder in front of the policy; the stand-in observes a few numbers.")
    if facts.get("model_kind") == "foundation_model":
        notes.append(
            "Yours is a foundation model. This small project shows the mechanism and its measurement, not the model."
        )
    if facts.get("reward") == "sparse":
        notes.append("Your rewards are sparse, those of the stand-in are not: expect to need more exploration.")
    return notes


def _count(facts: Mapping[str, str], name: str, default: int, least: int, most: int) -> tuple[int, bool]:
    """A count from the facts, and whether it had to be moved into the range that trains in seconds."""
    stated = int(facts.get(name, default))
    used = min(max(stated, least), most)
    return used, used != stated


def _call(arguments: list[str]) -> str:
    return f"Config({', '.join(arguments)})"
