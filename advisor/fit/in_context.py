"""For language models: a small learner that reads its examples in the prompt, and the same network fine-tuned on the same examples.

Both are trainings like any other, on `tasks/in_context.py`. They pretrain the same network, weight for weight, and are asked the same; what
differs is the way the examples are used. Off the training distribution they tell whether learning in context replaces fine-tuning there.
"""

from collections.abc import Callable
from typing import Any

from .train import TUNING, Job, Outcome, family_of, implementation, off_distribution, on_test_sets, trained_on

STEPS = 10  # gradient steps of fine-tuning on the examples
STEP_SIZES = (0.03, 0.1, 0.3, 1.0, 3.0)  # to choose from, on training tasks
TUNING_TASKS = 60


def in_context(job: Job) -> Outcome:
    """Examples in the prompt, weights as they are: `in_context` (a stage for each example) and `zero_shot` (an empty prompt)."""
    algorithm, family, config, trained, learning = _pretrained(job)

    def play(family: Any, tasks: Any, seed: int) -> Any:
        return algorithm.evaluate(trained, config, family, tasks, seed)

    returns = on_test_sets(job, family, "in_context", play)
    returns = {"zero_shot": returns["in_context"][:1]} | {name: stages[1:] for name, stages in returns.items()}
    return Outcome(returns, _granted(config, family), learning, off_distribution(job, family, play))


def tuned(job: Job) -> Outcome:
    """Gradient steps on the examples, an empty prompt: `fine_tuned`, a stage for each number of examples."""
    import torch

    algorithm, family, config, trained, learning = _pretrained(job)
    seen = family.sample(TUNING_TASKS, torch.Generator().manual_seed(TUNING + job.seed))

    def adapted(family: Any, tasks: Any, seed: int, step_size: float) -> Any:
        return algorithm.fine_tune(trained, config, family, tasks, seed, STEPS, step_size)

    best = max(STEP_SIZES, key=lambda size: float(adapted(family, seen, TUNING + job.seed, size)[:, -1].mean()))

    def play(family: Any, tasks: Any, seed: int) -> Any:
        return adapted(family, tasks, seed, best)

    returns = {name: stages[1:] for name, stages in on_test_sets(job, family, "fine_tuned", play).items()}
    return Outcome(returns, _granted(config, family), learning, off_distribution(job, family, play))


def _pretrained(job: Job) -> tuple[Any, Any, Any, Any, tuple[float, ...]]:
    algorithm, family = implementation("in_context"), family_of(job)
    config = algorithm.Config(seed=job.seed, **job.settings)
    trained, learning = trained_on(algorithm, config, family)
    return algorithm, family, config, trained, tuple(-loss for loss in learning)  # as a return: higher is better


def _granted(config: Any, family: Any) -> int:
    """Labelled words that pretraining sees."""
    return int(config.iterations * config.tasks * (family.examples + 1))


TRAININGS: dict[str, Callable[[Job], Outcome]] = {"in_context": in_context, "in_context_tuned": tuned}
