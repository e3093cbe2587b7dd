"""What each small task family needs in order to be trained on in seconds: its size, and the settings of every algorithm on it. No torch.

Every training of a family is granted the same number of environment steps. Those that learn from fresh episodes alone (MAML, RL²) get as many
iterations as that pays for; those that learn from a memory (multi-task, PEARL) make a fixed number of gradient steps and fill
the memory with the rest. Settings were chosen on seeds from 100 on, which no report uses, or for their CPU seconds alone.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

Settings = Mapping[str, Any]
KNOWN_TASKS = 20  # tasks that the dictionary holds a policy for
BUDGETS = ("smoke", "standard")
# Episodes of adaptation at most, where gradient steps take more: a belief needs no more, and a memory has to be trained on as many.
BELIEVED, REMEMBERED = 10, 4


@dataclass(frozen=True)
class Family:
    """One family of reference_impls/tasks. `steps` and the entries of `rounds` are (smoke, standard).

    "pearl_shifted" are the rounds of PEARL where it is trained three times, on wider and wider distributions.
    """

    path: str  # module:class under reference_impls.tasks
    horizon: int
    steps: tuple[int, int]  # environment steps granted to each training
    discrete: bool = False
    known: bool = False  # a catalogue: it is tested on what it was trained on
    tasks: int = 200  # held-out tasks per seed, where it isn't
    pool: int = 1  # tasks averaged to one score: more where a single return is mostly luck
    scored: str = "last"  # the stage that counts: the last, or the mean of all
    stage: str = "episode"  # what a stage of adaptation is called
    rounds: Mapping[str, tuple[int, int]] = field(default_factory=dict)  # iterations of the trainings with a memory
    settings: Mapping[str, Settings] = field(
        default_factory=dict
    )  # algorithm -> what differs from the reference's defaults
    # The same, from `standard` on: what more steps are worth spending on.
    longer: Mapping[str, Settings] = field(default_factory=dict)


# With 20 tasks an update MAML got worse again.
_STEADY: dict[str, Settings] = {"maml": {"tasks": 80, "outer_rate": 3e-3}}
_MANY: Settings = {"tasks": 60}  # MAML with few episodes a task: as many tasks make a batch
_POINT: dict[str, Settings] = {  # robots that are points: dense reward, about 20 steps
    "rl2": {
        "tasks": 48,
        "learning_rate": 5e-3,
        "discount": 0.9,
        "gae_lambda": 0.95,
        "entropy": 0.0,
        "reward_shift": -1.0,
    },
    "pearl": {"meta_batch": 32},
}
_ROUNDS = {"multi_task": (25, 150), "dictionary": (20, 100), "pearl": (8, 40)}
_SCORES: Settings = {"context_scale": 1.0, "latent_size": 5, "meta_batch": 32}  # PEARL on discrete actions

FAMILIES: Mapping[str, Family] = {
    "bandit": Family(
        "bandit:Bandit", 1, (1_024_000, 6_144_000), discrete=True, tasks=4000, pool=100, scored="mean", stage="pull",
        rounds={"dictionary": (15, 50), "pearl": (5, 30)},
        settings={"multi_task": {"discount": 0.0, "replay": 5000}, "pearl": {**_SCORES, "discount": 0.0}},
    ),
    "catalogue": Family(
        "catalogue:Catalogue", 20, (400_000, 2_400_000), known=True, rounds=_ROUNDS, settings={**_POINT, "maml": _MANY}
    ),
    "cities": Family(
        "cities:Cities", 20, (400_000, 2_400_000), known=True, rounds=_ROUNDS, settings={**_POINT, "maml": _MANY}
    ),
    "diagnosis": Family(
        "diagnosis:Diagnosis", 8, (160_000, 720_000), discrete=True, tasks=3000, pool=100,
        rounds={"pearl": (20, 90)}, settings={"rl2": {"tasks": 250}},
    ),
    "in_context": Family("in_context:Labels", 1, (153_600, 614_400), stage="example"),  # steps: labelled words
    "maze": Family(
        "maze:Maze", 16, (600_000, 4_000_000), discrete=True, pool=10,
        rounds={"dictionary": (15, 80), "pearl": (6, 30)},
        settings={"rl2": {"tasks": 64, "learning_rate": 5e-3, "entropy": 0.03}, "pearl": _SCORES}, longer=_STEADY,
    ),
    "objects": Family(
        "objects:Objects", 20, (600_000, 4_000_000), rounds={**_ROUNDS, "pearl": (16, 60)}, settings=_POINT, longer=_STEADY
    ),
    "regimes": Family(
        "regimes:Regimes", 30, (800_000, 4_000_000), discrete=True, tasks=2000, pool=100,
        rounds={"dictionary": (15, 80), "pearl": (5, 30)},
        settings={
            "maml": _MANY,
            "rl2": {"core": "gru", "tasks": 128, "learning_rate": 1e-2, "discount": 0.5, "gae_lambda": 0.5, "entropy": 0.05},
            "multi_task": {"discount": 0.0}, "pearl": {**_SCORES, "discount": 0.0},
        },
    ),
    "semicircle": Family(
        "semicircle:Semicircle", 20, (400_000, 2_400_000), rounds={**_ROUNDS, "pearl": (16, 40), "pearl_shifted": (10, 40)},
        settings={**_POINT, "maml": _MANY},
    ),
    "shapes": Family(
        "shapes:Shapes", 8, (600_000, 3_200_000),
        rounds={"dictionary": (15, 100), "pearl": (6, 40)},
        settings={
            "maml": {"tasks": 120},
            "rl2": {"tasks": 128, "learning_rate": 5e-3, "discount": 0.0, "gae_lambda": 0.0, "entropy": 0.0, "key": 8},
            "multi_task": {"discount": 0.0}, "pearl": {"discount": 0.0, "latent_size": 8, "context_scale": 1.0, "meta_batch": 32},
        },
    ),
    "support": Family(
        "support:Support", 10, (400_000, 2_400_000), known=True, rounds={"multi_task": (20, 75), "dictionary": (20, 75), "pearl": (8, 30)},
        settings={
            "maml": _MANY,
            "rl2": {"tasks": 128, "learning_rate": 5e-3, "discount": 0.0, "gae_lambda": 0.0, "entropy": 0.0},
            "multi_task": {"discount": 0.0, "batch": 8}, "pearl": {"discount": 0.0, "context_scale": 1.0, "meta_batch": 32},
        },
    ),
}  # fmt: skip


def sized(
    family: Family,
    training: str,
    budget: str,
    known: int,
    adapt: int,
    test: Mapping[str, int],
    shifted: bool = False,
) -> dict[str, Any]:
    """The settings of one training: those of the family, and the iterations that take the budget's environment steps.

    `known`: tasks of the catalogue; `adapt`: episodes that a memory may adapt in; `test`: how gradient steps run at test time;
    `shifted`: it is a shift that the plan is about.
    """
    algorithm = _ALGORITHM[training]
    settings: dict[str, Any] = dict(family.settings.get(algorithm, {}))
    steps, scale = family.steps[BUDGETS.index(budget)], BUDGETS.index(budget)
    settings |= family.longer.get(algorithm, {}) if scale else {}
    if training == "maml_scratch":
        return {}  # nothing is trained
    if algorithm == "in_context":
        return {**settings, "iterations": max(2, round(steps / (settings.get("tasks", 128) * (adapt + 1))))}
    if algorithm == "maml":
        settings |= {"inner_steps": 0} if training == "maml_pretrained" else {}
        inner = settings.get("inner_steps", 1)
        each = settings.get("tasks", 20) * test["episodes"] * (1 + inner) * family.horizon
        return {**settings, "iterations": max(2, round(steps / each))}
    if algorithm == "rl2":
        each = settings.get("tasks", 512) * (adapt + 1) * family.horizon
        return {**settings, "episodes": adapt + 1, "iterations": max(2, round(steps / each))}
    kind = "pearl_shifted" if shifted and "pearl_shifted" in family.rounds else training
    rounds = family.rounds[kind if kind in family.rounds else algorithm][scale]
    if algorithm == "pearl":
        listed = family.path.startswith("diagnosis")  # its own settings collect one episode an iteration
        episodes = rounds if listed else 10 + rounds * 3
        return {**settings, "iterations": rounds, "train_tasks": max(2, round(steps / (episodes * family.horizon)))}
    tasks = KNOWN_TASKS if training == "dictionary" else known
    settings.setdefault("batch", min(64, max(16, 1600 // tasks)))
    return {**settings, "iterations": rounds, "episodes": max(1, round(steps / (rounds * family.horizon * tasks)))}


_ALGORITHM = {
    "multi_task": "multi_task", "multi_task_hidden": "multi_task", "multi_task_separate": "multi_task", "dictionary": "multi_task",
    "in_context": "in_context",
    "in_context_tuned": "in_context",
    "maml": "maml", "maml_pretrained": "maml", "maml_scratch": "maml", "rl2": "rl2", "rl2_memoryless": "rl2", "pearl": "pearl",
}  # fmt: skip
