"""The mitigations, each against a plain loop or an exact case."""

import pytest
import torch
from torch import Tensor, nn
from torch.func import functional_call

from reference_impls.mitigations import Anchor, Balance, Learner, fisher, project, spread_of_returns, task_gradients
from reference_impls.multi_task import Config


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


class Linear(nn.Module):
    """A shared layer in the shape that the mitigations ask for: weight (1, in, out), one for all tasks or a copy for each."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(1, 3, 2, generator=generator(1)))
        self.bias = nn.Parameter(torch.randn(1, 1, 2, generator=generator(2)))

    def forward(self, x: Tensor) -> Tensor:
        return torch.tanh(x @ self.weight + self.bias)  # x (task, row, in)


X = torch.randn(4, 8, 3, generator=generator(3))
GOAL = torch.randn(4, 8, 2, generator=generator(4)) * torch.tensor([0.1, 1.0, 3.0, 10.0])[:, None, None]


def loss(network: object) -> Tensor:
    return (network(X) - GOAL).square().mean((1, 2))  # type: ignore[operator]


def one_by_one(module: nn.Module) -> Tensor:
    """Each task's gradient from a backward pass of its own, (task, parameter)."""
    rows = []
    for task in range(4):
        gradients = torch.autograd.grad(loss(module)[task], list(module.parameters()))
        rows.append(torch.cat([g.flatten() for g in gradients]))
    return torch.stack(rows)


def step_of(config: Config, seed: int = 6) -> Tensor:
    """The gradient that a learner hands to its optimiser."""
    module = Linear()
    learner = Learner(module, config, 4)
    learner.descend(loss, torch.arange(4), generator(seed))
    return torch.cat([p.grad.flatten() for p in module.parameters() if p.grad is not None])


def plain_surgery(gradients: Tensor, order: list[list[int]]) -> Tensor:
    """Algorithm 1 of the paper, pair by pair."""
    projected = gradients.clone()
    for i, partners in enumerate(order):
        for j in partners:
            if j != i and (dot := torch.dot(projected[i], gradients[j])) < 0:
                projected[i] -= dot / torch.dot(gradients[j], gradients[j]) * gradients[j]
    return projected


def test_task_gradients_are_those_of_one_backward_pass_a_task() -> None:
    """One pass over copies of the weights gives every task's own gradient and loss."""
    module = Linear()
    losses, gradients = task_gradients(module, loss, 4)
    torch.testing.assert_close(losses, loss(module))
    torch.testing.assert_close(gradients, one_by_one(module))


@pytest.mark.parametrize("seed", range(5))
def test_surgery_equals_a_loop_over_pairs(seed: int) -> None:
    """From the products alone come the gradients that the loop over pairs finds, to 1e-6 of their length."""
    gradients = torch.randn(10, 40, generator=generator(seed), dtype=torch.float64)
    gradients[3] = -gradients[2] + 1e-4 * gradients[4]  # near-opposites, where little is left
    order = torch.rand(10, 10, generator=generator(seed + 50)).argsort(1).tolist()
    expected = plain_surgery(gradients, order)
    for g, tolerance in ((gradients, 1e-9), (gradients.float(), 1e-6)):
        error = (project(g, generator(seed + 50)).double() - expected).norm(dim=1) / gradients.norm(dim=1)
        assert error.max() < tolerance
    assert (expected - gradients).norm(dim=1).min() > 0.1


def test_surgery_leaves_what_does_not_conflict() -> None:
    """Gradients without a negative product come back unchanged, zeros included."""
    agreeing = torch.randn(5, 6, generator=generator()).abs()
    agreeing[2] = 0
    torch.testing.assert_close(project(agreeing, generator(1)), agreeing)


def test_a_learner_steps_along_the_projected_gradients() -> None:
    """With surgery the step is the sum of the projected, weighted gradients."""
    weights = torch.tensor([1.0, 2.0, 3.0, 4.0])
    weighted = one_by_one(Linear()) * (weights / weights.sum())[:, None]
    expected = project(weighted, generator(6)).sum(0)
    found = step_of(Config(surgery=True, task_weights=tuple(weights.tolist())))
    torch.testing.assert_close(found, expected)
    assert not torch.allclose(found, weighted.sum(0))


def test_gradnorm_steps_along_the_weighted_gradients() -> None:
    """The first step uses the weights after one move: up for short gradients, down for long ones, all positive, mean 1."""
    each = one_by_one(Linear())
    balance = Balance(4)
    weights = balance.by_norm(each.norm(dim=1))
    assert weights.mean().item() == pytest.approx(1) and (weights > 0).all()
    shorter = each.norm(dim=1) < each.norm(dim=1).mean()
    assert torch.equal(weights > 1, shorter) and 0 < shorter.sum() < 4
    torch.testing.assert_close(step_of(Config(balance="gradnorm")), (weights / 4) @ each)


def test_gradnorm_makes_gradients_of_any_scale_equally_long() -> None:
    """Norms that span a factor of a thousand are brought within a tenth of each other."""
    norms, balance = torch.tensor([0.1, 1.0, 20.0, 100.0]), Balance(4)
    for _ in range(1000):
        weights = balance.by_norm(norms)
    weighted = weights * norms
    assert weighted.max() < 1.1 * weighted.min()
    assert weights.sum().item() == pytest.approx(4)


def test_weights_by_inverse_loss_make_all_losses_weigh_alike() -> None:
    """Constant losses of any sign and size get weights in inverse proportion to their absolute value."""
    losses, balance = torch.tensor([0.5, -2.0, 8.0]), Balance(3)
    for _ in range(3):
        weights = balance.by_loss(losses)
    torch.testing.assert_close(weights * losses.abs(), torch.full((3,), float((weights * losses.abs())[0])))
    assert weights.mean().item() == pytest.approx(1)


def test_fisher_is_the_mean_of_squared_gradients_of_each_row() -> None:
    """The batched information equals a loop over rows, which the square of the mean gradient does not."""
    module, rows = Linear(), X[0]

    def log_likelihood(network: object, row: Tensor) -> Tensor:
        return -network(row[None, None]).square().sum()  # type: ignore[operator]

    found = fisher(module, log_likelihood, (rows,))
    squares = [torch.autograd.grad(log_likelihood(module, row), list(module.parameters())) for row in rows]
    for i, name in enumerate(["weight", "bias"]):
        torch.testing.assert_close(found[name], torch.stack([s[i] for s in squares]).square().mean(0))


def test_anchor_pulls_as_the_separate_penalties_do() -> None:
    """Two sums hold the pull of every earlier task: the gradient of the sum of their quadratic penalties."""
    module, anchor, penalties = Linear(), Anchor(), []
    assert anchor.pull("weight", module.weight) == 0.0
    for task in range(3):
        information = {name: torch.rand(p.shape, generator=generator(task)) for name, p in module.named_parameters()}
        anchor.add(module, information)
        penalties.append((information["weight"], module.weight.detach().clone()))
        with torch.no_grad():
            module.weight += 1 + task
    penalty = sum((0.5 * f * (module.weight - held).square()).sum() for f, held in penalties)
    (expected,) = torch.autograd.grad(penalty, [module.weight])
    torch.testing.assert_close(torch.as_tensor(anchor.pull("weight", module.weight)), expected)


def test_a_gaussian_actor_is_held_by_its_exact_information() -> None:
    """For an actor that is a mean alone, of fixed deviation, the sampled information comes near the exact x^2 / variance."""

    class Actor(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.slope = nn.Parameter(torch.tensor([[[0.5]]]))

        def forward(self, x: Tensor, ids: Tensor) -> Tensor:
            return torch.cat([x * self.slope, torch.full_like(x, -1.0)], -1)  # log deviation -1

    actor = Actor()
    learner = Learner(actor, Config(in_turn=True, ewc=2.0), 1)
    learner.hold(torch.full((600, 1), 3.0), torch.tensor([0]), generator())
    exact = 9 * torch.tensor(2.0).exp()  # x^2 / variance
    held = torch.as_tensor(learner.anchor.strength["slope"]).squeeze()
    assert held.item() == pytest.approx(exact.item(), rel=0.2)  # 512 draws of a chi-square: standard error 6 %


def test_ewc_holds_what_has_information_and_only_that() -> None:
    """Against a constant push, a weight with information settles where push and pull meet, one without goes on."""
    config = Config(in_turn=True, ewc=5.0)
    module = nn.ParameterDict({"held": nn.Parameter(torch.zeros(1)), "free": nn.Parameter(torch.zeros(1))})
    learner = Learner(module, config, 1)
    learner.optimiser = torch.optim.SGD(module.parameters(), lr=0.1)  # type: ignore[assignment]
    learner.anchor.add(module, {"held": torch.ones(1), "free": torch.zeros(1)})
    for _ in range(200):
        learner.descend(lambda net: -(net["held"] + net["free"]), torch.arange(1), generator())  # type: ignore[index]
    assert module["held"].item() == pytest.approx(1 / 5, rel=1e-3) and module["free"].item() == pytest.approx(
        20, rel=1e-3
    )


def test_spread_of_returns_equals_a_plain_loop() -> None:
    """Discounted sums run from each row to the end of its episode or time limit, in whole rounds, row = round x step x episode."""
    horizon, episodes, discount = 3, 2, 0.5
    reward = torch.randn(1, 1 + 2 * horizon * episodes, generator=generator())
    terminated = torch.zeros_like(reward)
    terminated[0, 1 + 2] = 1  # round 0, step 1, episode 0
    sums = []
    for round in range(2):
        for episode in range(episodes):
            total = 0.0
            for step in reversed(range(horizon)):
                row = 1 + (round * horizon + step) * episodes + episode
                total = reward[0, row].item() + discount * (0.0 if terminated[0, row] else total)
                sums.append(total)
    found = spread_of_returns(reward, terminated, horizon, episodes, discount)
    assert found.item() == pytest.approx(torch.tensor(sums).std(correction=0).item(), rel=1e-5)


def test_copies_of_weights_change_nothing() -> None:
    """A module computes the same with a copy of its weights for each task."""
    module = Linear()
    copies = {name: p.detach().expand(4, -1, -1) for name, p in module.named_parameters()}
    torch.testing.assert_close(functional_call(module, copies, (X,)), module(X))
