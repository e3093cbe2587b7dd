"""What the project is made of: the example, the user's class, the settings and the caveats that follow from the facts."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from ..engine import Recommendation
from ..errors import NoProject, UnknownEntry, nearest
from ..questions import next_question
from ..rulebook import Rulebook

ENVIRONMENTS = ("metaworld:ML1", "mujoco:half-cheetah-vel")  # what --env knows


@dataclass(frozen=True)
class Plan:
    """The choices for one project. Everything here is code or words of our own: nothing of the user's text reaches it."""

    family: str  # the algorithm: name of its file in reference_impls
    module: str  # the module of the example in reference_impls/tasks
    environment: str  # the class in it
    arguments: str  # of the class, as Python
    what: str  # the example in words
    own: str  # the template of the class that holds the user's environment
    horizon: int  # its time limit, in steps
    config: str  # the algorithm's settings, a Python expression
    stages: int  # episodes or gradient steps to adapt in on each held-out task
    test_tasks: int
    quick: int  # iterations in which the project's own test shows learning on the example
    margin: float  # by which it does, of the way from chance to an agent that was told the task
    notes: tuple[str, ...]  # where the example differs from the scenario, and what was chosen because of a fact
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


def choose(recommendation: Recommendation, book: Rulebook, family: str | None = None, env: str | None = None) -> Plan:
    """The plan for the recommended family, or for `family` where the user insists on one; `env` wires it to one of ENVIRONMENTS.

    Raises NoProject where there is nothing to write, and UnknownEntry for a family or an environment that there is none of.
    """
    known = {str(v["family"]) for v in book.entries["verdicts"].values() if v["family"]}
    facts = recommendation.values
    shifted = family is None and recommendation.verdict == "none_reliable"
    if shifted:  # the learner that the fit measures the shift with, unless gradients may be taken
        family = "maml" if facts.get("adaptation_gradients") == "allowed" else "pearl"
        facts = {name: value for name, value in facts.items() if name != "action_kind"}
    elif family is None:
        family = str(book.entries["verdicts"][recommendation.verdict]["family"])
        if not family:
            raise _nothing_to_write(recommendation, book)
    if family not in known or family not in _PLANS:
        hint = f"{nearest(family, sorted(known))} families: {', '.join(sorted(known))}".strip()
        raise UnknownEntry(f"no family is called `{family[:80]}`", hint=hint)
    if env is not None and env not in ENVIRONMENTS:
        hint = f"{nearest(env, ENVIRONMENTS)} environments: {', '.join(ENVIRONMENTS)}".strip()
        raise UnknownEntry(f"no environment is called `{env[:80]}`", hint=hint)
    if env is not None:  # both have continuous actions
        facts = {**facts, "action_kind": "continuous"}
    plan = _PLANS[family](facts)
    plan = replace(
        plan,
        example_config=plan.config.replace("FAMILY", "EXAMPLE"),
        example_stages=plan.stages,
        example_tasks=plan.test_tasks,
        language=facts.get("model_kind") == "foundation_model",
        widen=shifted,
    )
    return plan if env is None else _wired(plan, env)


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
    what = "a robot that is a point and moves to known goals on a circle, each goal a task"
    notes = _differences(facts, "continuous", what)
    tasks, cut = _count(facts, "task_count", 10, 2, 20)
    notes += [f"The example has {tasks} tasks, not {facts['task_count']}, to train in seconds."] if cut else []
    hidden = facts.get("task_identity") == "hidden"
    arguments, config = f"tasks={tasks}", []
    if facts.get("gradient_interference") == "present":
        config.append("surgery=True")
        notes.append("`gradient_surgery` (PCGrad) is on, because tasks pull the shared weights in opposing directions.")
    if facts.get("capacity_limits") == "present":
        config.append("hidden=(128, 128)")
        notes.append(
            "`larger_network` is on, twice the reference's width, because one that is too small holds the tasks back."
        )
    if facts.get("task_imbalance") == "present":
        config.append("normalise_rewards=True")
        notes.append(
            "`one_scale` is on, each task's rewards are divided by their spread, because some tasks would dominate otherwise."
        )
    if facts.get("catastrophic_interference") == "present":
        notes.append(
            "Every update rehearses all tasks from their replay memory, which is what keeps earlier ones alive."
        )
    if config:
        notes.append("Other mitigations are switched by name: `python -m starter_agent.train --mitigation task_heads`.")
    if hidden:
        arguments += ", arc=0.6"
        config.append("task_id=False")
        notes.append(
            "The policy is not told its task, as in your scenario, so the best it can be is one compromise; the example's goals lie "
            "close together, where a compromise is worth having. Showing it the task (`task_id=True`) or inferring it (PEARL, RL²) "
            "is what helps where tasks differ more."
        )
    return Plan(
        "multi_task",
        "catalogue",
        "Catalogue",
        arguments,
        what,
        "point",
        20,
        _call(config),
        1,
        tasks,
        30,
        0.5,
        tuple(notes),
        tasks=tasks,
        arc="0.6" if hidden else "2 * np.pi",
        sparse=facts.get("reward") == "sparse",
        hidden_id=hidden,
    )


def _maml(facts: Mapping[str, str]) -> Plan:
    discrete = facts.get("action_kind") == "discrete"
    what = (
        "Bernoulli bandits, the winning chances new in each task"
        if discrete
        else "2D navigation, the goal unknown and new in each task"
    )
    notes = _differences(facts, "discrete" if discrete else "continuous", what)
    if facts.get("reward") == "sparse":
        notes.append("A gradient has nothing to follow where no reward is found: measure this before you rely on MAML.")
    stages, config = 3, ["tasks=100", "step_size=1.0"] if discrete else []
    if "adaptation_episodes" in facts:
        budget, cut = _count(facts, "adaptation_episodes", 60, 1, 60)
        episodes = min(budget, 20)
        stages = budget // episodes
        if cut:
            notes.append(f"It adapts in {budget} episodes, not {facts['adaptation_episodes']}, to train in seconds.")
        notes.append(
            f"A new task costs {stages * episodes} episodes: {stages} gradient step{'s' * (stages > 1)} on {episodes} each, "
            "and training plays the same number before its step."
        )
        config.insert(0, f"episodes={episodes}")
    if discrete:
        enough = int(facts.get("adaptation_episodes", 20)) >= 10  # a step on few pulls is mostly luck
        return Plan(
            "maml",
            "bandit",
            "Bandit",
            "",
            what,
            "arms",
            1,
            _call([*config, "iterations=60"]),
            stages,
            2000,
            40,
            0.3 if enough else 0.1,
            tuple(notes),
        )
    sparse = facts.get("reward") == "sparse"
    return Plan(
        "maml",
        "navigation",
        "Navigation",
        "",
        what,
        "point",
        100,
        _call(config),
        stages,
        100,
        20,
        0.25,
        tuple(notes),
        sparse=sparse,
    )


def _rl2(facts: Mapping[str, str]) -> Plan:
    if facts.get("action_kind") == "continuous":
        what = "a robot that is a point, its goal somewhere on a half circle and hidden"
        episodes, cut = _count(facts, "adaptation_episodes", 2, 2, 4)
        config = [
            f"episodes={episodes}",
            "iterations=200",
            "tasks=128",
            "learning_rate=3e-3",
            "discount=0.9",
            "gae_lambda=0.95",
        ]
        config += ["entropy=0.0", "reward_shift=-1.0"]
        plan = Plan(
            "rl2", "semicircle", "Semicircle", "", what, "point", 20, _call(config), episodes, 500, 200, 0.25, ()
        )
        plan = replace(plan, sparse=facts.get("reward") == "sparse")
    elif facts.get("reward") == "sparse":
        what = "a grid with a hidden goal, new in each task, where only reaching it pays"
        episodes, cut = _count(facts, "adaptation_episodes", 3, 2, 6)
        config = [f"episodes={episodes}", "iterations=200", "tasks=256"]
        plan = Plan(
            "rl2",
            "grid",
            "Grid",
            "size=4, horizon=10",
            what,
            "grid",
            10,
            _call(config),
            episodes,
            1000,
            120,
            0.25,
            (),
        )
    else:
        what = "Bernoulli bandits, the winning chances new in each task"
        episodes, cut = _count(facts, "adaptation_episodes", 10, 2, 20)
        config = [f"episodes={episodes}"]
        arguments = f"pulls={episodes}"
        plan = Plan("rl2", "bandit", "Bandit", arguments, what, "arms", 1, _call(config), episodes, 2000, 200, 0.3, ())
    notes = _differences(facts, facts.get("action_kind", "discrete"), what, sparse=plan.module == "grid")
    if cut:
        notes.append(f"A trial has {episodes} episodes, not {facts['adaptation_episodes']}, to train in seconds.")
    return replace(plan, notes=tuple(notes))


def _pearl(facts: Mapping[str, str]) -> Plan:
    stages, cut = _count(facts, "adaptation_episodes", 4, 2, 20)
    if facts.get("action_kind") == "discrete":
        what = "a diagnosis, each patient a task: tests narrow the belief before the answer"
        notes = _differences(facts, "discrete", what)
        notes.append("A case is one episode, and the belief adapts within it; each stage of the curve is a fresh case.")
        config = "Config.for_family(FAMILY)"
        return Plan("pearl", "diagnosis", "Diagnosis", "", what, "clinic", 8, config, 4, 2000, 20, 0.5, tuple(notes))
    what = "a robot that is a point, its goal somewhere on a half circle and hidden"
    notes = _differences(facts, "continuous", what)
    notes += [f"The curve shows {stages} episodes, not {facts['adaptation_episodes']}."] if cut else []
    sparse = facts.get("reward") == "sparse"
    if sparse:
        notes.append(
            "`Semicircle(sparse=True)` in environment.py is the example with a sparse reward; it takes minutes."
        )
    return Plan(
        "pearl",
        "semicircle",
        "Semicircle",
        "",
        what,
        "point",
        20,
        _call([]),
        stages,
        500,
        14,
        0.4,
        tuple(notes),
        sparse=sparse,
    )


_PLANS = {"multi_task": _multi_task, "maml": _maml, "rl2": _rl2, "pearl": _pearl}

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
    switches = [s for s in ("surgery=True", "normalise_rewards=True", "task_id=False") if s in plan.config]
    config = _ROBOT_CONFIGS[plan.family].format("".join(f", {s}" for s in switches))
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


def _differences(facts: Mapping[str, str], actions: str, what: str, sparse: bool = False) -> list[str]:
    """How the example differs from the scenario, as far as the facts tell."""
    notes = [f"The environment begins as an example: {what}. Actions are {actions}."]
    if facts.get("action_kind", actions) != actions:
        notes.append(f"Your actions are {facts['action_kind']}, those of the example are not.")
    if facts.get("observation_kind") == "image":
        notes.append("You observe images. Put an encoder in front of the policy; the example observes a few numbers.")
    if facts.get("model_kind") == "foundation_model":
        notes.append(
            "Yours is a foundation model. This small project shows the mechanism and its measurement, not the model."
        )
    if facts.get("reward") == "sparse" and not sparse:
        notes.append("Your rewards are sparse, those of the example are not: expect to need more exploration.")
    return notes


def _count(facts: Mapping[str, str], name: str, default: int, least: int, most: int) -> tuple[int, bool]:
    """A count from the facts, and whether it had to be moved into the range that trains in seconds."""
    stated = int(facts.get(name, default))
    used = min(max(stated, least), most)
    return used, used != stated


def _call(arguments: list[str]) -> str:
    return f"Config({', '.join(arguments)})"
