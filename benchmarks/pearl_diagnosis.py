"""PEARL with a categorical belief on the diagnosis family: return over the Bayes optimum (case `pearl-diagnosis`)."""

import time
from dataclasses import asdict

import torch

from reference_impls.pearl import Config, Trained, evaluate, train
from reference_impls.tasks.diagnosis import Diagnosis

CASE = "pearl-diagnosis"
UNIT = "share of the exact Bayes-optimal return"
ITERATIONS = 120  # with fewer the last step is better than the running mean
TEST_TASKS = 5000  # held-out patients, seen four times each


@torch.no_grad()
def belief_error(trained: Trained, family: Diagnosis, tests: int, seed: int) -> float:
    """Return the mean KL(exact posterior || learned belief) in nats after `tests` random tests, over 2000 patients."""
    generator = torch.Generator().manual_seed(seed)
    tasks = family.sample(2000, generator)
    state, results, context = family.reset(tasks), [], []
    for _ in range(tests):
        action = torch.randint(family.tests, (len(tasks),), generator=generator)
        before = family.observe(state)
        state, reward, _ = family.step(tasks, state, action, generator)
        one_hot = torch.nn.functional.one_hot(action, family.action_size)
        context.append(torch.cat([before, one_hot, reward.unsqueeze(-1), family.observe(state)], dim=-1))
        results.append(state[:, 1:])
    exact = family.exact_posterior(torch.stack(results, dim=1))  # (task, condition)
    encoder = trained.networks.encoder
    learned, _ = encoder.moments(encoder.belief(torch.stack(context, dim=1), torch.ones(len(tasks), tests)))
    return float((exact * (exact.log() - learned.double().log())).sum(dim=-1).mean())


def run(seed: int) -> dict:
    """Train with one seed; the reference holds the exact optimum, the returns, and the error of the belief by step."""
    torch.set_num_threads(1)
    start = time.process_time()
    family = Diagnosis()
    config = Config.for_family(family, seed=seed, iterations=ITERATIONS, averaged=True)
    trained = train(config, family)
    training_seconds = time.process_time() - start
    generator = torch.Generator().manual_seed(10_000 + seed)  # held-out patients
    tasks = family.sample(TEST_TASKS, generator)
    figure = float(evaluate(trained, config, family, tasks, seed).mean())
    optimum = family.bayes_optimum()
    reference = {
        "bayes_optimum": optimum,
        "return": figure,
        "unadapted": float(evaluate(trained, config, family, tasks, seed, adapt=False).mean()),
        "random": float(family.random_return(tasks, generator).mean()),
    }
    reference |= {f"kl_after_{n}_tests": belief_error(trained, family, n, seed) for n in range(1, family.horizon)}
    return {
        "figure": figure / optimum,
        "cpu_seconds": training_seconds,
        "settings": {"test_tasks": TEST_TASKS, **asdict(config)},
        "reference": reference,
    }
