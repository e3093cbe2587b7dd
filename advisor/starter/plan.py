"""What the project is made of: the example, the user's class, the settings and the caveats that follow from the facts."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from ..engine import Recommendation
from ..errors import NoProject, RulesError, UnknownEntry, nearest
from ..questions import next_question
from ..rulebook import Rulebook, load

if TYPE_CHECKING:
    from ..fit.plan import StandIn

ENVIRONMENTS = ("metaworld:ML1", "mujoco:half-cheetah-vel")  # what --env knows


@dataclass(frozen=True)
class Proof:
    """How the project's own test shows that an algorithm learns a family, and which template holds the family's class in gymnasium's form.

    `margin`: of the way from chance to an agent that was told the task, and above the agent that may not adapt; well below what seeds other
    than the test's reached. `hidden`: the same where the policy isn't told its task, above the policy before training.
    """

    own: str
    margin: float
    hidden: float = 0.1


_PROOFS = {  # (algorithm, family of the example) that a project can be made of
    ("maml", "maze"): Proof("maze", 0.15),
    ("maml", "objects"): Proof("objects", 0.25),
    ("maml", "semicircle"): Proof("point", 0.2),
    ("multi_task", "catalogue"): Proof("point", 0.5, 0.25),
    ("multi_task", "cities"): Proof("cities", 0.5),
    ("multi_task", "support"): Proof("support", 0.3, 0.15),
    ("pearl", "diagnosis"): Proof("clinic", 0.5),
    ("pearl", "semicircle"): Proof("point", 0.2),
    ("rl2", "bandit"): Proof("arms", 0.3),
    ("rl2", "regimes"): Proof("regimes", 0.15),
    ("rl2", "shapes"): Proof("shapes", 0.2),
}


@dataclass(frozen=True)
class Plan:
    """The choices for one project. Everything here is code or words of ours or of the rules': nothing of the user's text reaches it."""

    family: str  # the algorithm: name of its file in reference_impls
    module: str  # the module of the example in reference_impls/tasks
    environment: str  # the class in it
    parameters: Mapping[str, Any]  # of the class
    what: str  # the example in words
    own: str  # the template of the class that holds the user's environment
    horizon: int  # its time limit, in steps
    config: str  # the algorithm's settings, a Python expression
    stages: int  # episodes or gradient steps to adapt in on each held-out task
    test_tasks: int
    margin: float  # by which the project's own test shows learning on the example, see Proof
    notes: tuple[str, ...]  # where the example differs from the scenario, and what was chosen because of a fact
    switches: Mapping[str, Any] = field(default_factory=dict)  # the settings among `config` that follow from facts
    tasks: int = 0  # multi-task: the number of known tasks
    arc: str = ""  # multi-task: the angle they lie on
    sparse: bool = False  # whether the user's class begins with a sparse reward
    hidden_id: bool = False  # multi-task: the policy isn't told its task
    widen: bool = False  # none_reliable: measure the shift and widen the training distribution
    language: bool = False  # a foundation model: examples in the prompt against fine-tuning
    env: str = ""  # what --env named
    example_config: str = ""  # settings, stages and tasks with which the example is learnt
    example_stages: int = 0
    example_tasks: int = 0

    @property
    def arguments(self) -> str:
        """The parameters of the example as Python."""
        return _arguments(self.parameters)


def choose(recommendation: Recommendation, book: Rulebook, family: str | None = None, env: str | None = None) -> Plan:
    """The plan for the recommended family, or for `family` where the user insists on one; `env` wires it to one of ENVIRONMENTS.

    Raises NoProject where there is nothing to write, UnknownEntry for a family or an environment that there is none of, RulesError for
    a stand-in in the rules that no project can be made of.
    """
    known = {str(v["family"]) for v in book.entries["verdicts"].values() if v["family"]}
    facts = recommendation.values
    shifted = family is None and recommendation.verdict == "none_reliable"
    if shifted:  # the learner that the fit measures the shift with, unless gradients may be taken
        family = "maml" if facts.get("adaptation_gradients") == "allowed" else "pearl"
    elif family is None:
        family = str(book.entries["verdicts"][recommendation.verdict]["family"])
        if not family:
            raise _nothing_to_write(recommendation, book)
    if family not in known or family not in _NOTES:
        hint = f"{nearest(family, sorted(known))} families: {', '.join(sorted(known))}".strip()
        raise UnknownEntry(f"no family is called `{family[:80]}`", hint=hint)
    if env is not None and env not in ENVIRONMENTS:
        hint = f"{nearest(env, ENVIRONMENTS)} environments: {', '.join(ENVIRONMENTS)}".strip()
        raise UnknownEntry(f"no environment is called `{env[:80]}`", hint=hint)
    if env is not None:  # both have continuous actions
        facts = {**facts, "action_kind": "continuous"}
    plan = _plan(family, _stand_in(family, facts, "none_reliable" if shifted else family, book), facts)
    plan = replace(
        plan,
        example_config=plan.config.replace("FAMILY", "EXAMPLE"),
        example_stages=plan.stages,
        example_tasks=plan.test_tasks,
        language=facts.get("model_kind") == "foundation_model",
        widen=shifted,
    )
    return plan if env is None else _wired(plan, env)


def _stand_in(family: str, facts: Mapping[str, str], verdict: str, book: Rulebook) -> "StandIn":
    """The stand-in that the fit takes, but for one that no environment can replace, such as the prompts of a language model."""
    from ..fit.plan import stand_ins  # here, for the fit brings numpy

    for rules in (book, load()):  # an own rulebook may have stand-ins for other algorithms alone
        for row in stand_ins(rules, {**facts, "verdict": verdict}):
            if (family, row.family.partition(":")[0]) in _PROOFS:
                if not all(name.isidentifier() for name in row.family_settings):
                    raise RulesError("a parameter's name is no word", f"{rules.folder / 'stand_ins.toml'}, {row.id}")
                return row
    raise RulesError(f"no stand-in for `{family}`", str(book.folder / "stand_ins.toml"))


def _plan(family: str, row: "StandIn", facts: Mapping[str, str]) -> Plan:
    """The plan for a stand-in: its family, parameters and settings are those of the fit's smoke budget."""
    from ..fit.families import BELIEVED, FAMILIES, REMEMBERED, sized

    module, environment = row.family.split(":")
    kind, proof = FAMILIES[module], _PROOFS[family, module]
    adapt = row.test["steps"] * row.test["episodes"]
    remembered = min(adapt, REMEMBERED) if row.stage == "gradient step" else adapt
    tasks = int(row.family_settings.get("tasks", 0))
    settings = sized(kind, family, "smoke", tasks, remembered, row.test, row.verdict == "none_reliable")
    stages = {"multi_task": 1, "maml": row.test["steps"], "rl2": remembered + 1, "pearl": 1 + min(adapt, BELIEVED)}[
        family
    ]
    if family == "maml":
        settings = {"episodes": row.test["episodes"], **settings}
    plan = Plan(
        family=family,
        module=module,
        environment=environment,
        parameters=row.family_settings,
        what=row.sentence,
        own=proof.own,
        horizon=int(row.family_settings.get("horizon", kind.horizon)),
        config="",
        stages=stages,
        test_tasks=tasks if kind.known else min(kind.tasks, 2000),
        margin=proof.margin,
        notes=tuple(_differences(facts, row, "discrete" if kind.discrete else "continuous")),
        tasks=tasks,
        sparse=facts.get("reward") == "sparse",
    )
    plan = _NOTES[family](plan, facts, row)
    config = _call({**settings, **plan.switches})
    if module == "diagnosis":  # its settings differ from the defaults in many places
        config = config.replace("Config(", "Config.for_family(FAMILY, ")
    return replace(plan, config=config)


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


def _multi_task(plan: Plan, facts: Mapping[str, str], row: "StandIn") -> Plan:
    notes: list[str] = []
    switches: dict[str, Any] = {}
    parameters = dict(plan.parameters)
    if facts.get("gradient_interference") == "present":
        switches["surgery"] = True
        notes.append("`gradient_surgery` (PCGrad) is on, because tasks pull the shared weights in opposing directions.")
    if facts.get("capacity_limits") == "present":
        switches["hidden"] = (128, 128)
        notes.append(
            "`larger_network` is on, twice the reference's width, because one that is too small holds the tasks back."
        )
    if facts.get("task_imbalance") == "present":
        switches["normalise_rewards"] = True
        notes.append(
            "`one_scale` is on, each task's rewards are divided by their spread, because some tasks would dominate otherwise."
        )
    if facts.get("catastrophic_interference") == "present":
        notes.append(
            "`train_side_by_side` is on: every update rehearses all tasks from their replay memory, which is what keeps earlier ones alive. "
            "Where the tasks come one after another, `experience_replay` and `continual_learning` (EWC) are the switches."
        )
    if notes:
        notes.append("Mitigations are switched by name: `python -m starter_agent.train --mitigation task_heads`.")
    hidden, around = facts.get("task_identity") == "hidden", plan.module == "catalogue"
    if hidden:
        switches["task_id"] = False
        note = "The policy is not told its task, as in your scenario, so the best it can be is one compromise"
        if around:
            parameters["arc"] = 0.6
            note += "; the example's goals lie close together, where a compromise is worth having"
        notes.append(
            note
            + ". Showing it the task (`task_id=True`) or inferring it (PEARL, RL²) is what helps where tasks differ more."
        )
    return replace(
        plan,
        parameters=parameters,
        switches=switches,
        notes=(*plan.notes, *notes),
        arc="0.6" if hidden else "2 * np.pi",
        margin=_PROOFS[plan.family, plan.module].hidden if hidden else plan.margin,
        hidden_id=hidden,
    )


def _maml(plan: Plan, facts: Mapping[str, str], row: "StandIn") -> Plan:
    steps, episodes = row.test["steps"], row.test["episodes"]
    notes = [
        f"A new task costs {steps * episodes} episodes: {steps} gradient step{'s' * (steps > 1)} on {episodes} each, "
        "and training plays the same number before its step."
    ]
    if facts.get("reward") == "sparse":
        notes.append("A gradient has nothing to follow where no reward is found: measure this before you rely on MAML.")
    return replace(plan, notes=(*plan.notes, *_cut(facts, steps * episodes), *notes))


def _rl2(plan: Plan, facts: Mapping[str, str], row: "StandIn") -> Plan:
    note = f"A trial has {plan.stages} episode{'s' * (plan.stages > 1)}, and the memory is kept over all of them."
    return replace(plan, notes=(*plan.notes, *_cut(facts, plan.stages - 1), note))


def _pearl(plan: Plan, facts: Mapping[str, str], row: "StandIn") -> Plan:
    if plan.module == "diagnosis":
        note = "A case is one episode, and the belief adapts within it."
        return replace(plan, notes=(*plan.notes, note))
    notes = [f"The curve shows {plan.stages} episodes, the first without any knowledge of the task."]
    if plan.sparse:
        notes.append(
            "`Semicircle(sparse=True)` in environment.py is the example with a sparse reward; it takes minutes."
        )
    return replace(plan, notes=(*plan.notes, *_cut(facts, plan.stages - 1), *notes))


_NOTES: Mapping[str, Callable[[Plan, Mapping[str, str], "StandIn"], Plan]] = {
    "multi_task": _multi_task,
    "maml": _maml,
    "rl2": _rl2,
    "pearl": _pearl,
}

# First guesses for the simulated robots, not tuned; the rows of a batch are copies of the simulator, so they are few.
_ROBOT_CONFIGS = {
    "multi_task": "Config(iterations=200, episodes=1, updates=200, hidden=(256, 256), learning_rate=1e-3, discount=0.99{})",
    "maml": "Config(iterations=300, tasks=10, episodes=5, hidden=(64, 64), discount=0.99)",
    "rl2": "Config(episodes=2, iterations=1000, tasks=20, learning_rate=1e-3, discount=0.99, gae_lambda=0.95, entropy=0.0)",
    "pearl": "Config(train_tasks=20, iterations=200, gradient_steps=200, initial_episodes=2, meta_batch=10, rows=128, latent_size=5, "
    "hidden_size=256, learning_rate=1e-3, discount=0.99, context_scale=1.0)",
}


def _wired(plan: Plan, env: str) -> Plan:
    """The plan with the user's class played by a simulated robot; the example is kept for the proof of learning."""
    switches = {name: value for name, value in plan.switches.items() if name != "hidden"}  # they are wide already
    config = _ROBOT_CONFIGS[plan.family].format("".join(f", {name}={value}" for name, value in switches.items()))
    note = (
        f"The environment is {env}, through the class in environment.py. Its settings are a first guess and have not been tuned: nothing "
        "shows yet that they learn it. The small example is there for the proof that the algorithm learns."
    )
    return replace(
        plan,
        env=env,
        own="metaworld" if env == "metaworld:ML1" else "mujoco",
        horizon=200 if env == "metaworld:ML1" else 100,
        config=config,
        stages=min(plan.stages, 2) if plan.family == "rl2" else plan.stages,
        test_tasks=plan.tasks or 10,
        notes=(note, *(n for n in plan.notes if not n.startswith("The environment"))),
    )


def _differences(facts: Mapping[str, str], row: "StandIn", actions: str) -> list[str]:
    """How the example differs from the scenario, as far as the facts tell."""
    notes = [
        f"The environment begins as the example that a fit trains on, too: {row.sentence}. Actions are {actions}.",
        f"The environment leaves out: {'; '.join(row.left_out)}.",
    ]
    if facts.get("action_kind", actions) != actions:
        notes.append(f"Your actions are {facts['action_kind']}, those of the example are not.")
    if facts.get("observation_kind") == "image":
        notes.append("You observe images. Put an encoder in front of the policy; the example observes a few numbers.")
    if facts.get("model_kind") == "foundation_model":
        notes.append(
            "Yours is a foundation model. This small project shows the mechanism and its measurement, not the model."
        )
    if facts.get("reward") == "sparse":
        notes.append("Your rewards are sparse, those of the example are not: expect to need more exploration.")
    return notes


def _cut(facts: Mapping[str, str], used: int) -> list[str]:
    """Says that the example adapts in another number of episodes than the scenario."""
    stated = int(facts.get("adaptation_episodes", used))
    return [] if stated == used else [f"It adapts in {used} episodes, not {stated}, to train in seconds."]


def _call(settings: Mapping[str, Any]) -> str:
    return f"Config({_arguments(settings)})"


def _arguments(values: Mapping[str, Any]) -> str:
    words = {name: f'"{value}"' if isinstance(value, str) else repr(value) for name, value in values.items()}
    return ", ".join(f"{name}={word}" for name, word in words.items())
