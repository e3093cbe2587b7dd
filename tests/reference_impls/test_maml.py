import json
import math
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.func import vmap

from reference_impls import maml
from reference_impls.maml import (
    Batch,
    Config,
    Episodes,
    Loss,
    Params,
    adapt,
    adapt_tasks,
    advantages,
    collect,
    discounted,
    evaluate,
    fit_values,
    head,
    init,
    init_params,
    inner_loss,
    log_prob,
    meta_objective,
    outer_loss,
    per_task,
    rollout,
    train,
)
from reference_impls.maml_sine import squared_error
from reference_impls.tasks.navigation import Navigation

FAMILY = Navigation()


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@dataclass(frozen=True)
class OneGoodArm:
    """A discrete family: the task is the arm that pays 1 of three; four pulls an episode; nothing to see."""

    horizon: int = 4
    observation_size: int = 1
    action_size: int = 3
    discrete: bool = True

    def sample(self, n: int, generator: torch.Generator) -> Tensor:
        return torch.randint(self.action_size, (n, 1), generator=generator)

    def reset(self, tasks: Tensor) -> Tensor:
        return torch.ones(tasks.shape)

    def observe(self, state: Tensor) -> Tensor:
        return state

    def step(
        self, tasks: Tensor, state: Tensor, action: Tensor, generator: torch.Generator
    ) -> tuple[Tensor, Tensor, Tensor]:
        return state, (action == tasks.squeeze(-1)).float(), torch.zeros_like(action, dtype=torch.bool)


def double_params(seed: int, family: Any, spread: float) -> Params:
    """Parameters in float64, away from the special point where the last layer is almost zero."""
    params = init_params(Config(hidden=(7, 5)), family, generator(seed))
    noise = generator(seed + 1)
    return {
        n: p.double() + spread * torch.randn(p.shape, generator=noise, dtype=torch.float64) for n, p in params.items()
    }


def fixed_batch(seed: int, params: Params, tasks: int = 3, samples: int = 12) -> Batch:
    """A batch of arbitrary continuous data in float64, some of it after the end of an episode."""
    g = generator(seed)
    observations = torch.randn(tasks, samples, 2, generator=g, dtype=torch.float64)
    actions = torch.randn(tasks, samples, 2, generator=g, dtype=torch.float64)
    alive = (torch.rand(tasks, samples, generator=g) < 0.8).double()
    advantage = alive * torch.randn(tasks, samples, generator=g, dtype=torch.float64)
    return Batch(observations, actions, log_prob(params, observations, actions).detach(), advantage, alive)


def sines(seed: int, tasks: int = 4, points: int = 10) -> tuple[Tensor, Tensor]:
    """Sine regression of Finn et al. 2017, section 5.1: inputs and targets (task, point, 1)."""
    g = generator(seed)
    amplitude = 0.1 + 4.9 * torch.rand(tasks, 1, 1, generator=generator(99), dtype=torch.float64)
    phase = math.pi * torch.rand(tasks, 1, 1, generator=generator(98), dtype=torch.float64)
    x = 10 * torch.rand(tasks, points, 1, generator=g, dtype=torch.float64) - 5
    return x, amplitude * torch.sin(x - phase)


@dataclass(frozen=True)
class Line:
    """Sizes of a network from one number to one number; `discrete` only to leave out the noise parameter."""

    observation_size: int = 1
    action_size: int = 1
    discrete: bool = True


def gradients(objective: Loss, params: Params, data: object) -> tuple[Tensor, Tensor]:
    """All derivatives as one vector: by differentiation, and by central differences."""
    leaves = {name: value.clone().requires_grad_() for name, value in params.items()}
    exact = torch.cat([g.flatten() for g in torch.autograd.grad(objective(leaves, data), list(leaves.values()))])
    numeric = []
    width = 1e-5
    for name, value in params.items():
        for index in range(value.numel()):
            shift = torch.zeros(value.numel(), dtype=torch.float64)
            shift[index] = width
            up, down = ({**params, name: value + sign * shift.view_as(value)} for sign in (1, -1))
            numeric.append((objective(up, data) - objective(down, data)) / (2 * width))
    return exact, torch.stack(numeric)


def relative_error(one: Tensor, other: Tensor) -> float:
    return float((one - other).norm() / other.norm())


@pytest.mark.parametrize("inner_steps", [0, 1, 2])
def test_second_order_meta_gradient_of_regression(inner_steps: int) -> None:
    """The meta-gradient equals central differences to 1e-6; without second order it is another vector."""
    params = double_params(3, Line(), 0.3)
    data = ([sines(step) for step in range(inner_steps)], [sines(10 + step) for step in range(max(1, inner_steps))])

    def objective(params: Params, data: tuple[list[Any], list[Any]], first: bool) -> Tensor:
        return meta_objective(params, data[0], data[1], squared_error, squared_error, 0.05, first)

    second, numeric = gradients(partial(objective, first=False), params, data)
    first, _ = gradients(partial(objective, first=True), params, data)
    assert relative_error(second, numeric) < 1e-6
    if inner_steps > 0:
        assert relative_error(first, numeric) > 0.1
    else:
        assert torch.equal(first, second)


def test_second_order_meta_gradient_of_the_policy_losses() -> None:
    """The same holds for the losses of the algorithm itself, exploration noise included."""
    params = double_params(5, FAMILY, 0.3)
    data = (fixed_batch(1, params), fixed_batch(2, params))

    def objective(params: Params, data: tuple[Batch, Batch], first: bool) -> Tensor:
        return meta_objective(params, [data[0]], [data[1]], inner_loss, partial(outer_loss, clip=0.2), 0.3, first)

    second, numeric = gradients(partial(objective, first=False), params, data)
    first, _ = gradients(partial(objective, first=True), params, data)
    assert relative_error(second, numeric) < 1e-6
    assert relative_error(first, numeric) > 0.01


def test_tasks_at_once_equal_tasks_in_a_loop() -> None:
    """Adapted parameters and meta-objective over the task axis are those of one task after the other."""
    params = double_params(7, FAMILY, 0.3)
    support, query = fixed_batch(3, params), fixed_batch(4, params)
    outer = partial(outer_loss, clip=0.2)
    together = adapt_tasks(per_task(params, 3), support, 0.2)
    losses = []
    for task in range(3):
        alone = adapt(params, Batch(*(column[task] for column in support)), inner_loss, 0.2)
        for name, value in alone.items():
            assert torch.allclose(together[name][task], value, rtol=1e-12, atol=1e-12)
        losses.append(outer(alone, Batch(*(column[task] for column in query))))
    whole = meta_objective(params, [support], [query], inner_loss, outer, 0.2, False)
    assert torch.allclose(whole, torch.stack(losses).mean(), rtol=1e-12)


def test_the_loss_after_every_inner_step_counts() -> None:
    """With two inner steps the meta-objective is the mean of the losses after the first and after the second."""
    params, points = double_params(4, Line(), 0.3), [sines(seed, tasks=1) for seed in range(4)]
    alone = [(x[0], y[0]) for x, y in points]
    once = adapt(params, alone[0], squared_error, 0.05)
    twice = adapt(once, alone[1], squared_error, 0.05)
    expected = (squared_error(once, alone[2]) + squared_error(twice, alone[3])) / 2
    whole = meta_objective(params, points[:2], points[2:], squared_error, squared_error, 0.05, False)
    assert torch.allclose(whole, expected, rtol=1e-12)


def test_learned_step_sizes() -> None:
    """Each weight's step is alpha times its own factor; the meta-gradient in weights and factors equals central differences."""
    params = init_params(Config(hidden=(7,), learn_step_sizes=True), Line(), generator())
    params = {n: p.double() + 0.3 * torch.randn(p.shape, generator=generator(2)).double() for n, p in params.items()}
    plain = {n: p for n, p in params.items() if not n.startswith("rate_")}
    data = (sines(1, tasks=1)[0][0], sines(1, tasks=1)[1][0])
    with_factors, without = (adapt(p, data, squared_error, 0.05) for p in (params, plain))
    for name, value in plain.items():
        assert torch.allclose(with_factors[name] - value, params[f"rate_{name}"] * (without[name] - value), atol=1e-12)
        assert torch.equal(with_factors[f"rate_{name}"], params[f"rate_{name}"])
    objective = lambda p, d: meta_objective(p, [d[0]], [d[1]], squared_error, squared_error, 0.05, False)  # noqa: E731
    exact, numeric = gradients(objective, params, (sines(1), sines(2)))
    assert relative_error(exact, numeric) < 1e-6


def test_training_moves_the_step_sizes() -> None:
    """With the option, training changes the factors of alpha, without it there are none; the noise has none either way."""
    config = Config(iterations=2, tasks=3, episodes=2, learn_step_sizes=True)
    trained = train(config, FAMILY)
    assert {n for n in trained.params if n.startswith("rate_")} == {
        f"rate_{kind}{layer}" for kind in ("weight", "bias") for layer in range(3)
    }
    assert (trained.params["rate_weight1"] != 1).any()
    assert not any(n.startswith("rate_") for n in init(replace(config, learn_step_sizes=False), FAMILY).params)


def test_one_inner_step_is_a_policy_gradient_step() -> None:
    """The inner step adds alpha times the gradient of mean log-probability times advantage, to all but the noise."""
    params = double_params(8, FAMILY, 0.3)
    batch = Batch(*(column[0] for column in fixed_batch(5, params)))
    leaves = {name: value.clone().requires_grad_() for name, value in params.items()}
    total = torch.zeros((), dtype=torch.float64)
    for o, a, w, played in zip(batch.observations, batch.actions, batch.advantages, batch.alive, strict=True):
        normal = torch.distributions.Normal(head(leaves, o), leaves["log_std"].exp())
        total = total + played * w * normal.log_prob(a).sum() / batch.alive.sum()
    gradient = torch.autograd.grad(total, [leaves[name] for name in params])
    adapted = adapt(params, batch, inner_loss, 0.1)
    for (name, value), slope in zip(params.items(), gradient, strict=True):
        expected = value if name == "log_std" else value + 0.1 * slope
        assert torch.allclose(adapted[name], expected, rtol=1e-10, atol=1e-12)


def test_each_task_has_its_own_network() -> None:
    """Parameters with a task axis give what `vmap` gives over that axis, and so what each task's network gives alone."""
    own = {
        name: torch.stack([double_params(seed, FAMILY, 0.3)[name] for seed in (1, 2, 3)])
        for name in double_params(1, FAMILY, 0)
    }
    x = torch.randn(3, 5, 2, generator=generator(), dtype=torch.float64)
    assert torch.allclose(head(own, x), vmap(head)(own, x), rtol=1e-12)
    assert torch.allclose(head(own, x)[1], head(double_params(2, FAMILY, 0.3), x[1]), rtol=1e-12)


def test_log_probabilities() -> None:
    """Gaussian and categorical log-probabilities are those of torch.distributions."""
    gaussian = double_params(1, FAMILY, 0.3)
    x, a = torch.randn(5, 2, dtype=torch.float64), torch.randn(5, 2, dtype=torch.float64)
    normal = torch.distributions.Normal(head(gaussian, x), gaussian["log_std"].exp())
    assert torch.allclose(log_prob(gaussian, x, a), normal.log_prob(a).sum(-1))
    categorical = double_params(1, OneGoodArm(), 0.3)
    x, arm = torch.randn(5, 1, dtype=torch.float64), torch.tensor([0, 1, 2, 2, 0])
    expected = torch.distributions.Categorical(logits=head(categorical, x)).log_prob(arm)
    assert torch.allclose(log_prob(categorical, x, arm), expected)


def test_discrete_actions_are_drawn_from_the_policy() -> None:
    """The share of each action over many rollouts is its probability under the policy."""
    family, config = OneGoodArm(), Config(hidden=(4,), episodes=5000)
    params = init_params(config, family, generator())
    params["bias1"] = torch.tensor([0.0, 1.0, -1.0])
    episodes = rollout(per_task(params, 1), config, family, torch.zeros(1, 1), generator(1))
    shares = torch.bincount(episodes.actions.flatten(), minlength=3) / episodes.actions.numel()
    assert torch.allclose(shares, head(params, torch.ones(1, 1)).softmax(-1)[0], atol=0.015)


def make_episodes(seed: int) -> Episodes:
    """Two tasks, seven steps, three episodes: one never ends, one ends at step 3, one at the very last step."""
    g = generator(seed)
    terminated = torch.zeros(2, 7, 3, dtype=torch.bool)
    terminated[:, 3, 1] = True
    terminated[:, 6, 2] = True
    alive = torch.ones(2, 7, 3)
    alive[:, 4:, 1] = 0
    return Episodes(
        observations=torch.randn(2, 7, 3, 2, generator=g),
        actions=torch.randn(2, 7, 3, 2, generator=g),
        log_probs=torch.zeros(2, 7, 3),
        rewards=alive * torch.randn(2, 7, 3, generator=g),
        terminated=terminated,
        alive=alive,
        last_observations=torch.randn(2, 3, 2, generator=g),
        truncated=torch.tensor([[True, False, False]] * 2),
    )


def test_returns_against_a_plain_loop() -> None:
    """Discounted returns equal a sum written out per step; the value after the limit counts only where no end came."""
    episodes = make_episodes(0)
    value_after = torch.tensor([[5.0, 6.0, 7.0], [8.0, 9.0, 10.0]])
    result = discounted(episodes.rewards, episodes.terminated, value_after, 0.9)
    for task in range(2):
        for episode, length in enumerate([7, 4, 7]):
            for t in range(length):
                expected = sum(0.9 ** (k - t) * float(episodes.rewards[task, k, episode]) for k in range(t, length))
                if episode == 0:
                    expected += 0.9 ** (7 - t) * float(value_after[task, 0])
                assert float(result[task, t, episode]) == pytest.approx(expected, abs=1e-5)


def test_advantages_against_a_plain_loop() -> None:
    """Advantages equal the exponentially weighted sum of one-step errors, and are zero after the end of an episode."""
    episodes = make_episodes(1)
    values, value_after = fit_values(episodes, 0.9)
    result = advantages(episodes, 0.9, 0.8)
    for task in range(2):
        for episode, length in enumerate([7, 4, 7]):
            errors = []
            for t in range(length):
                following = float(values[task, t + 1, episode]) if t + 1 < length else 0.0
                if t + 1 == length and episode == 0:  # cut off, not ended
                    following = float(value_after[task, 0])
                errors.append(
                    float(episodes.rewards[task, t, episode]) + 0.9 * following - float(values[task, t, episode])
                )
            for t in range(length):
                expected = sum((0.9 * 0.8) ** (k - t) * errors[k] for k in range(t, length))
                assert float(result[task, t, episode]) == pytest.approx(expected, abs=1e-4)
    assert (result[:, 4:, 1] == 0).all()


def test_a_time_limit_is_not_an_end() -> None:
    """Reward 1 for ever is worth 1 / (1 - discount) if the horizon cuts, the mean finite sum if the task ends there."""
    ones, nothing = torch.ones(1, 10, 4), torch.zeros(1, 10, 4, dtype=torch.bool)
    still = torch.zeros(1, 10, 4, 2)
    cut = Episodes(still, still, ones, ones, nothing, ones, still[:, 0], torch.ones(1, 4, dtype=torch.bool))
    ends = nothing.clone()
    ends[:, -1] = True
    ended = cut._replace(terminated=ends, truncated=torch.zeros(1, 4, dtype=torch.bool))
    assert torch.allclose(fit_values(cut, 0.9)[0], torch.full((1, 10, 4), 10.0), rtol=2e-3)
    finite = sum((1 - 0.9 ** (10 - t)) / 0.1 for t in range(10)) / 10
    assert torch.allclose(fit_values(ended, 0.9)[0], torch.full((1, 10, 4), finite), rtol=2e-3)


def test_nothing_counts_after_the_end() -> None:
    """Where the goal is reached by the first step, the episode has one step, one reward, and is not truncated."""
    config = Config(episodes=3)
    near = Navigation(goal_radius=10.0, horizon=5)
    tasks = near.sample(2, generator())
    episodes = rollout(per_task(init(config, near).params, 2), config, near, tasks, generator(1))
    assert (episodes.alive.sum(1) == 1).all() and episodes.terminated[:, 0].all()
    assert not episodes.terminated[:, 1:].any() and not episodes.truncated.any()
    assert (episodes.rewards[:, 1:] == 0).all()
    far = Navigation(goal_radius=0.0, horizon=5)
    episodes = rollout(per_task(init(config, far).params, 2), config, far, tasks, generator(1))
    assert (episodes.alive == 1).all() and episodes.truncated.all() and not episodes.terminated.any()


def test_equal_episodes_give_no_nan() -> None:
    """A batch in which nothing differs (all advantages zero, baseline singular) leaves the parameters finite."""
    config, family = Config(episodes=3), OneGoodArm()
    params = per_task(init(config, family).params, 2)
    tasks = torch.full((2, 1), 7)  # an arm that does not exist: never paid
    batch, returns = collect(params, config, family, tasks, generator())
    assert (returns == 0).all() and (batch.advantages.abs() < 1e-3).all()
    assert all(value.isfinite().all() for value in adapt_tasks(params, batch, 0.1).values())


def test_same_seed_same_result() -> None:
    """Training and evaluation repeat exactly with a seed, and differ with another one."""
    config = Config(iterations=2, tasks=3, episodes=2)
    one, two, other = train(config, FAMILY), train(config, FAMILY), train(replace(config, seed=1), FAMILY)
    tasks = FAMILY.sample(4, generator())
    assert all(torch.equal(one.params[name], two.params[name]) for name in one.params)
    assert not torch.equal(one.params["weight0"], other.params["weight0"])
    returns = evaluate(one, config, FAMILY, tasks, seed=1, steps=2)
    assert returns.shape == (4, 3)
    assert torch.equal(returns, evaluate(two, config, FAMILY, tasks, seed=1, steps=2))


def test_a_broken_off_training_goes_on_to_the_bit(tmp_path: Path) -> None:
    """Broken off after its checkpoint and begun again, a training ends with the weights of one that ran through."""
    config = Config(iterations=4, tasks=3, episodes=2, learn_step_sizes=True)
    path = str(tmp_path / "checkpoint")
    through = train(config, FAMILY)

    def stop(done: int, total: int, figure: float) -> None:
        if done == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(config, FAMILY, stop, checkpoint=path, every=2)
    resumed = train(config, FAMILY, checkpoint=path, every=2)
    assert len(resumed.history) == 2
    assert all(torch.equal(resumed.params[name], value) for name, value in through.params.items())
    with pytest.raises(ValueError, match="settings"):
        train(replace(config, step_size=0.2), FAMILY, checkpoint=path)


def test_counts_below_one_are_refused() -> None:
    """A training of no iterations, tasks, episodes or epochs is an error that names the setting."""
    for name in ("iterations", "tasks", "episodes", "outer_epochs"):
        with pytest.raises(ValueError, match=name):
            replace(Config(), **{name: 0})


def test_the_command_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """The command prints one JSON object with a return for each gradient step, and logs a line for each iteration."""
    log = tmp_path / "log.jsonl"
    arguments = "--iterations 2 --tasks 2 --episodes 2 --test-tasks 3 --test-steps 1 --first-order --json --log"
    monkeypatch.setattr("sys.argv", ["maml", *arguments.split(), str(log)])
    maml.main()
    result = json.loads(capsys.readouterr().out)
    assert len(result["returns"]) == 2 and result["random"] < result["oracle"]
    assert result["settings"]["first_order"] and result["settings"]["iterations"] == 2
    assert [json.loads(line)["iteration"] for line in log.read_text().splitlines()] == [1, 2]
    monkeypatch.setattr("sys.argv", ["maml", "--tasks", "0"])
    with pytest.raises(SystemExit, match="2"):
        maml.main()


@pytest.mark.slow
def test_two_thousand_iterations_without_nan() -> None:
    """2,000 iterations on small, noisy batches, step sizes learned, leave parameters and returns finite."""
    config = Config(iterations=2000, tasks=4, episodes=4, learn_step_sizes=True)
    trained = train(config, FAMILY)
    assert all(value.isfinite().all() for value in trained.params.values())
    assert torch.tensor(trained.history).isfinite().all()


def test_settings_reach_the_training() -> None:
    """History has a column per inner step and one more, also without any inner step; progress counts to the end."""
    calls: list[tuple[int, int]] = []
    for inner_steps in (0, 1, 2):
        config = Config(iterations=2, tasks=3, episodes=2, inner_steps=inner_steps)
        trained = train(config, FAMILY, lambda done, total, figure: calls.append((done, total)))
        assert [len(row) for row in trained.history] == [inner_steps + 1] * 2
        assert 0 < trained.steps <= 2 * 3 * 2 * 100 * (inner_steps + 1)
    assert calls == [(1, 2), (2, 2)] * 3


def test_a_zero_step_changes_nothing() -> None:
    """With step size 0 the adapted policy is the unadapted one."""
    config = Config(episodes=2)
    params = per_task(init(config, FAMILY).params, 2)
    batch, _ = collect(params, config, FAMILY, FAMILY.sample(2, generator()), generator())
    adapted = adapt_tasks(params, batch, 0.0)
    assert all(torch.equal(adapted[name], params[name]) for name in params)


@pytest.mark.parametrize("seed", [0, 1])
def test_learns_to_adapt(seed: int) -> None:
    """After short training, one step on unseen goals gains 15 or more and reaches -25, far above no training."""
    config = Config(seed=seed, iterations=16, episodes=10)
    trained = train(config, FAMILY)
    g = generator(1000 + seed)
    tasks = FAMILY.sample(100, g)
    before, after = evaluate(trained, config, FAMILY, tasks, seed=2000 + seed, steps=1).mean(0).tolist()
    scratch = float(evaluate(init(config, FAMILY), config, FAMILY, tasks, seed=2000 + seed, steps=1)[:, 1].mean())
    random = float(FAMILY.random_return(tasks, g).mean())
    assert after - before >= 15
    assert after >= -25
    assert after > scratch + 10
    assert before > random


def test_learns_to_adapt_with_discrete_actions() -> None:
    """One of three arms pays: it gets a third of the pulls before adaptation, two thirds or more after one step."""
    for seed in (0, 1):
        config = Config(seed=seed, iterations=40, tasks=30, episodes=10, hidden=(16,), step_size=0.5)
        trained = train(config, OneGoodArm())
        tasks = OneGoodArm().sample(300, generator(50 + seed))
        before, after = (evaluate(trained, config, OneGoodArm(), tasks, seed=seed, steps=1).mean(0) / 4).tolist()
        assert before == pytest.approx(1 / 3, abs=0.1)
        assert after >= 2 / 3
