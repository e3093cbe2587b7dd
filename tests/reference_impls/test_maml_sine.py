import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from reference_impls import maml_sine
from reference_impls.maml_sine import Config, adapt, evaluate, init, meta_objective, train
from reference_impls.tasks.sine import Sine

FAMILY = Sine()
SMALL = Config(iterations=4, tasks=5, hidden=(8, 8))


def curves(n: int) -> torch.Tensor:
    return FAMILY.sample(n, torch.Generator().manual_seed(5))


@pytest.mark.parametrize("seed", [0, 1])
def test_learns_to_adapt(seed: int) -> None:
    """After short training one step on five points takes off half of the error, five take off more; untrained, it does not."""
    config = Config(seed=seed, iterations=250, tasks=25)
    tasks = curves(500)
    errors = evaluate(train(config, FAMILY), config, FAMILY, tasks, seed=1).mean(0)
    scratch = evaluate(init(config), config, FAMILY, tasks, seed=1).mean(0)
    assert errors[1] < errors[0] / 2
    assert errors[5] < errors[1]
    assert scratch[1] > scratch[0] / 2


@pytest.mark.parametrize("learned", [False, True])
def test_second_order_meta_gradient(learned: bool) -> None:
    """The meta-gradient, of the factors of the step sizes too, equals central differences to 1e-6; first order is another vector."""
    config = Config(hidden=(5,), points=4, step_size=0.05, learn_step_sizes=learned)
    generator = torch.Generator().manual_seed(1)
    params = {
        n: (p + 0.3 * torch.randn(p.shape, generator=generator)).double().requires_grad_()
        for n, p in init(config).params.items()
    }
    tasks = FAMILY.sample(3, generator)
    support, query = (tuple(part.double() for part in FAMILY.points(tasks, 4, generator)) for _ in range(2))
    second, first = (
        torch.autograd.grad(meta_objective(params, support, query, c), list(params.values()))
        for c in (config, replace(config, first_order=True))
    )
    numeric = [torch.zeros_like(p) for p in params.values()]
    with torch.no_grad():
        for p, slope in zip(params.values(), numeric, strict=True):
            for i in range(p.numel()):
                p.view(-1)[i] += 1e-5
                up = meta_objective(params, support, query, config)
                p.view(-1)[i] -= 2e-5
                slope.view(-1)[i] = (up - meta_objective(params, support, query, config)) / 2e-5
                p.view(-1)[i] += 1e-5
    expected, exact, rough = (torch.cat([g.flatten() for g in side]) for side in (numeric, second, first))
    assert (exact - expected).norm() < 1e-6 * expected.norm()
    assert (rough - expected).norm() > 1e-2 * expected.norm()


def test_a_step_is_alpha_times_the_factor_times_the_gradient() -> None:
    """One inner step is that of plain autograd, each weight's times its own factor; the factors stay."""
    params = init(Config(hidden=(5,))).params
    for name in [n for n in params if n.startswith("rate_")]:
        params[name] = torch.rand(params[name].shape, generator=torch.Generator().manual_seed(len(name)))
    points = tuple(part[0] for part in FAMILY.points(curves(1), 4, torch.Generator().manual_seed(2)))
    weights = {n: p.clone().requires_grad_() for n, p in params.items() if not n.startswith("rate_")}
    gradient = torch.autograd.grad(maml_sine.squared_error(weights, points), list(weights.values()))
    adapted = adapt(params, points, 0.1)
    for name, slope in zip(weights, gradient, strict=True):
        assert torch.allclose(adapted[name], params[name] - 0.1 * params[f"rate_{name}"] * slope, atol=1e-6)
        assert torch.equal(adapted[f"rate_{name}"], params[f"rate_{name}"])


def test_evaluation_sees_the_same_points_in_every_step() -> None:
    """With step size 0 no error moves; with a small one the error on the points themselves falls with every step."""
    trained, tasks = init(SMALL), curves(20)
    still = evaluate(trained, SMALL, FAMILY, tasks, seed=3, steps=2, step_size=0.0)
    assert torch.equal(still[:, 0], still[:, 1]) and torch.equal(still[:, 1], still[:, 2])
    many = replace(SMALL, points=200)  # so many points that what fits them fits the curve
    errors = evaluate(trained, many, FAMILY, tasks, seed=3, steps=4).mean(0)
    assert (errors.diff() < 0).all()


def test_no_inner_step_is_plain_regression() -> None:
    """Trained without inner steps the history is the error of theta itself, on curves it is not told apart."""
    config = replace(SMALL, inner_steps=0, learn_step_sizes=False)
    first = train(config, FAMILY).history[0]
    untrained, generator = init(config), torch.Generator().manual_seed(config.seed + 1)
    tasks = FAMILY.sample(config.tasks, generator)
    FAMILY.points(tasks, config.points, generator)
    x, y = FAMILY.points(tasks, config.points, generator)
    assert first == pytest.approx(maml_sine.squared_error(untrained.params, (x, y)).item(), rel=1e-5)


def test_a_broken_off_training_goes_on_to_the_bit(tmp_path: Path) -> None:
    """Broken off after its checkpoint and begun again, a training ends with the weights of one that ran through."""
    path = str(tmp_path / "checkpoint")

    def stop(done: int, total: int, figure: float) -> None:
        if done == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(SMALL, FAMILY, stop, checkpoint=path, every=2)
    resumed, through = train(SMALL, FAMILY, checkpoint=path, every=2), train(SMALL, FAMILY)
    assert all(torch.equal(resumed.params[name], value) for name, value in through.params.items())
    assert resumed.history == through.history[2:]


def test_the_command_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """The command prints one JSON object with an error for each gradient step, and logs a line for each iteration."""
    log = tmp_path / "log.jsonl"
    arguments = "--iterations 2 --tasks 3 --test-tasks 4 --test-steps 2 --fixed-step-sizes --json --log"
    monkeypatch.setattr("sys.argv", ["maml_sine", *arguments.split(), str(log)])
    maml_sine.main()
    result = json.loads(capsys.readouterr().out)
    assert len(result["errors"]) == 3 and not result["settings"]["learn_step_sizes"]
    assert [json.loads(line)["iteration"] for line in log.read_text().splitlines()] == [1, 2]


@pytest.mark.slow
def test_two_thousand_iterations_without_nan() -> None:
    """2,000 iterations at the full rate leave parameters and errors finite."""
    config = Config(iterations=2000, tasks=25)
    trained = train(config, FAMILY)
    assert all(value.isfinite().all() for value in trained.params.values())
    assert torch.tensor(trained.history).isfinite().all()
