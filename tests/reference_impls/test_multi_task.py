"""Multi-task soft actor-critic: exact checks of targets, networks and surgery, and that the task id pays."""

import json
import math
from dataclasses import dataclass, replace
from typing import Any

import pytest
import torch
from torch import Tensor

from reference_impls.mitigations import Learner
from reference_impls.multi_task import (
    MLP,
    Batch,
    Config,
    Moment,
    Trained,
    Twin,
    act,
    actor_loss,
    collect,
    critic_loss,
    draw,
    evaluate,
    main,
    remember,
    standard,
    targets,
    train,
    try_each,
    update,
)
from reference_impls.tasks.bandit import Bandit
from reference_impls.tasks.catalogue import Catalogue
from reference_impls.tasks.semicircle import Semicircle
from reference_impls.tasks.varied import FAMILIES, Varied

SMALL = Config(hidden=(8, 8), iterations=2, episodes=2, updates=2, batch=16)
FAMILY = Catalogue(tasks=3)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@dataclass(frozen=True)
class Corridor:
    """Each step goes 1 to the right whatever the action, pays the task's number, and ends at the wall, place 3."""

    horizon: int = 5
    observation_size = 1
    action_size = 1
    discrete = False

    def reset(self, tasks: Tensor) -> Tensor:
        return torch.zeros_like(tasks[..., :1])

    def observe(self, state: Tensor) -> Tensor:
        return state

    def step(
        self, tasks: Tensor, state: Tensor, action: Tensor, generator: torch.Generator
    ) -> tuple[Tensor, Tensor, Tensor]:
        return state + 1, tasks[..., 0], state[..., 0] + 1 >= 3


def random_batch(tasks: int = 3, rows: int = 16) -> Batch:
    g = generator(1)
    return Batch(
        torch.randn(tasks, rows, 2, generator=g),
        2 * torch.rand(tasks, rows, 2, generator=g) - 1,
        torch.randn(tasks, rows, generator=g),
        torch.randn(tasks, rows, 2, generator=g),
        (torch.rand(tasks, rows, generator=g) < 0.3).float(),
    )


def networks(config: Config, tasks: int = 3) -> tuple[MLP, Twin, Twin]:
    g = generator(2)
    return MLP(2, 4, config, tasks, g), Twin(4, config, tasks, g), Twin(4, config, tasks, g)


def plain_network(weights: list[Tensor], biases: list[Tensor], x: Tensor) -> Tensor:
    for layer, (weight, bias) in enumerate(zip(weights, biases, strict=True)):
        x = (x.relu() if layer else x) @ weight + bias
    return x


# Rollout and memory


def test_an_end_is_told_from_the_time_limit() -> None:
    """The wall ends and restarts an episode, the time limit does not end it, and the place reached is kept."""
    config = replace(SMALL, task_id=False)
    actor = MLP(1, 2, config, 2, generator())
    batch = collect(actor, Corridor(), torch.tensor([[1.0], [7.0]]), torch.arange(2), 1, generator())
    assert batch.observation[0, :, 0].tolist() == [0, 1, 2, 0, 1]
    assert batch.next_observation[0, :, 0].tolist() == [1, 2, 3, 1, 2]
    assert batch.terminated[0].tolist() == [0, 0, 1, 0, 0]  # the last row was cut by the time limit
    assert batch.reward[1].tolist() == [7] * 5


def test_memory_is_per_task_and_forgets_the_oldest() -> None:
    """Rows are appended in order, only the newest are kept, and a task draws its own rows only."""
    batch = random_batch(3, 4)._replace(reward=torch.arange(12.0).view(3, 4), terminated=torch.zeros(3, 4))
    replay = remember(remember(None, batch, 6), batch, 6)
    assert replay.reward[0].tolist() == [2, 3, 0, 1, 2, 3]
    drawn = draw(replay, replace(SMALL, batch=200), torch.zeros(3), torch.tensor([1.0, 2.0, 1.0]), generator())
    for task, scale in enumerate((1, 2, 1)):
        assert set(drawn.reward[task].tolist()) == {(4 * task + i) / scale for i in range(4)}
        for observation, reward in zip(drawn.observation[task], drawn.reward[task].tolist(), strict=True):
            assert torch.equal(observation, batch.observation[task, int(reward * scale) - 4 * task])


def test_standard_rewards() -> None:
    """Each task's rewards get mean 0 and spread 1, each switch works alone, and a constant reward divides by 1."""
    batch = random_batch()._replace(terminated=torch.zeros(3, 16))
    batch.reward[1] *= 100
    batch.reward[2] = 5.0
    shift, scale = standard(batch, FAMILY, SMALL)
    torch.testing.assert_close(shift, batch.reward.mean(1))
    assert scale.tolist() == pytest.approx([*batch.reward[:2].std(1, correction=0).tolist(), 1.0])
    assert standard(batch, FAMILY, replace(SMALL, centre_rewards=False))[0].tolist() == [0, 0, 0]
    assert standard(batch, FAMILY, replace(SMALL, normalise_rewards=False))[1].tolist() == [1, 1, 1]


def test_rewards_may_be_scaled_by_their_returns() -> None:
    """A constant reward has spread 0, but the sums to the end of its episodes don't; their spread, times 1 - discount, scales."""
    config = replace(SMALL, return_scale=True, discount=0.5, episodes=1)
    reward = torch.ones(1, 20)
    batch = Batch(*[torch.zeros(1, 20, 2)] * 2, reward, torch.zeros(1, 20, 2), torch.zeros(1, 20))
    sums = torch.tensor([2 - 2 * 0.5 ** (20 - t) for t in range(20)])
    _, scale = standard(batch, FAMILY, config)
    assert scale.item() == pytest.approx(0.5 * sums.std(correction=0).item(), rel=1e-5)
    assert standard(batch, FAMILY, SMALL)[1].item() == 1


def test_centring_moves_every_value_by_the_same_constant() -> None:
    """An episode that ends and one that runs on lose the same discounted amount, so centring favours neither."""
    gamma, shift = 0.9, torch.tensor([-3.0])
    config = replace(SMALL, discount=gamma, batch=1)

    def centred(reward: float, terminated: float) -> float:
        one = [torch.zeros(1, 1, 2)] * 2
        batch = Batch(one[0], one[1], torch.tensor([[reward]]), one[0], torch.tensor([[terminated]]))
        return draw(batch, config, shift, torch.ones(1), generator()).reward.item()

    long_return = sum(gamma**t * centred(-1.0, 0) for t in range(400))
    short_return = centred(-2.0, 0) + gamma * centred(-4.0, 1)
    moved = 3.0 / (1 - gamma)
    assert long_return == pytest.approx(-1 / (1 - gamma) + moved, abs=1e-4)
    assert short_return == pytest.approx(-2.0 + gamma * -4.0 + moved, abs=1e-4)


# Loss


def test_action_density_is_that_of_a_squashed_normal() -> None:
    """The log-density equals torch's own for tanh of a normal variable."""
    actor, _, _ = networks(SMALL)
    observation, ids = random_batch().observation, torch.arange(3)
    action, log_density = act(actor, observation, ids, generator())
    mean, log_std = actor(observation, ids).chunk(2, -1)
    normal = torch.distributions.Normal(mean, log_std.clamp(-5, 1).exp())
    squashed = torch.distributions.TransformedDistribution(normal, [torch.distributions.TanhTransform()])
    torch.testing.assert_close(log_density, squashed.log_prob(action).sum(-1), atol=2e-3, rtol=1e-3)


def test_targets_equal_a_plain_loop() -> None:
    """Row by row: the reward alone after an end, the discounted soft value of the smaller critic on top otherwise."""
    actor, _, target = networks(SMALL)
    batch = random_batch()
    y = targets(actor, target, batch, torch.arange(3), SMALL, generator())
    action, log_density = act(actor, batch.next_observation, torch.arange(3), generator())
    q = target(batch.next_observation, action, torch.arange(3))
    assert 0 < batch.terminated.mean() < 1
    for task in range(3):
        for row in range(16):
            expected = batch.reward[task, row].item()
            if not batch.terminated[task, row]:
                smaller = min(q[0, task, row].item(), q[1, task, row].item())
                expected += SMALL.discount * (smaller - SMALL.entropy * log_density[task, row].item())
            assert y[task, row].item() == pytest.approx(expected, abs=1e-5)


def test_losses_equal_a_plain_loop() -> None:
    """Each task's losses are means over its own rows: eq. (5) for both critics, eq. (7) for the actor."""
    actor, critic, _ = networks(SMALL)
    batch, ids, y = random_batch(), torch.arange(3), torch.randn(3, 16, generator=generator(5))
    q = critic(batch.observation, batch.action, ids)
    loss = critic_loss(critic, batch, ids, y)
    action, log_density = act(actor, batch.observation, ids, generator())
    q_new = critic(batch.observation, action, ids)
    policy_loss = actor_loss(actor, critic, batch, ids, SMALL, generator())
    for task in range(3):
        rows = range(16)
        squares = sum(0.5 * (q[c, task, row] - y[task, row]).item() ** 2 for c in (0, 1) for row in rows)
        soft = sum(SMALL.entropy * log_density[task, r].item() - q_new[:, task, r].min().item() for r in rows)
        assert loss[task].item() == pytest.approx(squares / 16, rel=1e-4)
        assert policy_loss[task].item() == pytest.approx(soft / 16, rel=1e-4)


# Networks


def test_shared_network_is_one_small_network_with_the_id_appended() -> None:
    """With the id, rows of all tasks go through the same weights; id -1 appends zeros."""
    network = MLP(2, 4, SMALL, 3, generator())
    x, ids = random_batch().observation, torch.tensor([2, -1, 0])
    weights, biases = [w[0] for w in network.weights], [b[0] for b in network.biases]
    for task, one_hot in enumerate(([0, 0, 1], [0, 0, 0], [1, 0, 0])):
        row = torch.cat([x[task], torch.tensor(one_hot).float().expand(16, 3)], -1)
        torch.testing.assert_close(network(x, ids)[task], plain_network(weights, biases, row))


def test_separate_networks_are_independent() -> None:
    """`separate` equals as many small networks, and no task's loss has a gradient in another's weights."""
    network = MLP(2, 4, replace(SMALL, separate=True), 3, generator())
    x, ids = random_batch().observation, torch.tensor([1, 2, 1])
    for task, id in enumerate(ids.tolist()):
        expected = plain_network([w[id] for w in network.weights], [b[id] for b in network.biases], x[task])
        torch.testing.assert_close(network(x, ids)[task], expected)
    network(x, torch.arange(3))[1].square().sum().backward()
    for p in network.parameters():
        assert p.grad is not None
        assert (p.grad[[0, 2]] == 0).all() and (p.grad[1] != 0).any()


def test_separate_training_of_a_task_does_not_see_the_others() -> None:
    """After three updates a task's networks are the same, whatever the other tasks' transitions and their number."""
    config = replace(SMALL, separate=True)

    def trained_on(batch: Batch, **changes: bool) -> list[Tensor]:
        used = replace(config, **changes)
        actor, critic, target = networks(used)
        learners = Learner(actor, used, 3), Learner(critic, used, 3)
        for step in range(3):
            update(*learners, target, batch, torch.arange(3), used, generator(step))
        return [p.detach() for p in (*actor.parameters(), *critic.parameters(), *target.parameters())]

    batch = random_batch()
    changed = batch._replace(reward=batch.reward.clone(), observation=batch.observation.clone())
    changed.reward[0] += 10
    changed.observation[2] *= 3
    pairs = list(zip(trained_on(batch), trained_on(changed), strict=True))
    assert all(torch.equal(a[1], b[1]) for a, b in pairs)
    assert any(not torch.equal(a[0], b[0]) for a, b in pairs)
    shared = zip(trained_on(batch, separate=False), trained_on(changed, separate=False), strict=True)
    assert any(not torch.equal(a, b) for a, b in shared)


def test_heads_share_all_but_the_last_layer() -> None:
    """A task's loss reaches the shared layers and its own head, no other head."""
    network = MLP(2, 4, replace(SMALL, heads=True), 3, generator())
    assert [len(w) for w in network.weights] == [1, 1, 3]
    network(random_batch().observation, torch.arange(3))[1].square().sum().backward()
    head = network.weights[2].grad
    assert (head[[0, 2]] == 0).all() and (head[1] != 0).any() and (network.weights[0].grad != 0).any()


def test_a_mixture_is_the_experts_weighed_by_the_gate() -> None:
    """Each hidden layer sums its experts' outputs by shares that add up to 1; the gate by task reads the number alone."""
    config = replace(SMALL, hidden=(8,), experts=3, gate="task")
    network = MLP(2, 4, config, 3, generator())
    assert [len(w) for w in network.weights] == [3, 1] and network.gate.shape == (1, 3, 3)
    x, ids = random_batch().observation, torch.tensor([2, 0, 2])
    shares = network.gate[0][ids].softmax(-1)  # (task, expert)
    for task, id in enumerate(ids.tolist()):
        row = torch.cat([x[task], torch.eye(3)[id].expand(16, 3)], -1)
        hidden = sum(shares[task, e] * (row @ network.weights[0][e] + network.biases[0][e]) for e in range(3))
        expected = hidden.relu() @ network.weights[1][0] + network.biases[1][0]
        torch.testing.assert_close(network(x, ids)[task], expected)
    by_input = MLP(2, 4, replace(config, gate="input", task_id=False), 3, generator())
    assert by_input.gate.shape == (1, 2, 3) and by_input(x, ids).shape == (3, 16, 4)


def test_the_critic_may_be_wider_than_the_actor() -> None:
    """`critic_hidden` changes both critics and leaves the actor alone."""
    config = replace(SMALL, critic_hidden=(32,))
    actor, critic, _ = networks(config)
    assert [tuple(w.shape[1:]) for w in actor.weights] == [(5, 8), (8, 8), (8, 4)]
    for one in (critic.first, critic.second):
        assert [tuple(w.shape[1:]) for w in one.weights] == [(7, 32), (32, 1)]


# Update


def test_task_weights_weigh_the_tasks() -> None:
    """A task of weight 0 has no say: the step is that of the others alone."""
    steps = []
    for factor in (1.0, 50.0):
        config = replace(SMALL, task_weights=(1.0, 0.0, 3.0))
        _, critic, _ = networks(config)
        batch = random_batch()
        y = batch.reward * torch.tensor([1.0, factor, 1.0])[:, None]
        ids = torch.arange(3)
        Learner(critic, config, 3).descend(
            lambda q, batch=batch, y=y, ids=ids: critic_loss(q, batch, ids, y), ids, generator()
        )
        steps.append([p.detach() for p in critic.parameters()])
    assert all(torch.equal(a, b) for a, b in zip(*steps, strict=True))


# Evaluation


def untrained(config: Config, tasks: Tensor, sizes: tuple[int, int] = (2, 4)) -> Trained:
    return Trained(MLP(*sizes, config, len(tasks), generator()), Twin(4, config, len(tasks), generator()), tasks, 0)


def test_rewards_after_the_end_do_not_count() -> None:
    """An episode that ends at the third step pays three rewards, though the time limit is five."""
    tasks = torch.tensor([[1.0], [7.0]])
    assert evaluate(untrained(SMALL, tasks, (1, 2)), SMALL, Corridor(), tasks, 0).tolist() == [[3], [21]]


def test_try_each_tries_every_id_on_every_task() -> None:
    """Row i, column j is the return on task i under id j, for tasks that were never trained on too."""
    family = Catalogue(tasks=3)
    trained, tasks = untrained(SMALL, family.catalogue()), family.shifted(4, generator())
    table = try_each(trained, SMALL, family, tasks, 0)
    assert table.shape == (4, 3)
    for id in range(3):
        column = evaluate(trained, SMALL, family, tasks, 0, torch.full((4,), id))
        torch.testing.assert_close(table[:, id : id + 1], column)


def test_known_tasks_find_their_own_ids() -> None:
    """Whatever the order in which known tasks come, each is run under the id it was trained with."""
    family = Catalogue(tasks=5)
    trained, tasks = untrained(SMALL, family.catalogue()), family.sample(12, generator())
    expected = evaluate(trained, SMALL, family, tasks, 0, family.ids(tasks))
    assert torch.equal(evaluate(trained, SMALL, family, tasks, 0), expected)
    hidden, new = replace(SMALL, task_id=False), family.shifted(4, generator())
    assert evaluate(untrained(hidden, family.catalogue()), hidden, family, new, 0).shape == (4, 1)


def test_unknown_ids_are_refused() -> None:
    """A new task without an id, too few ids, an unknown one: each is an error; -1 passes where it can mean "no task"."""
    family = Catalogue(tasks=3)
    tasks = family.catalogue()
    with pytest.raises(ValueError, match="not trained on"):
        evaluate(untrained(SMALL, tasks), SMALL, family, family.shifted(4, generator()), 0)
    for ids in ([0, 1], [0, 1, 3], [0, 1, -2]):
        with pytest.raises(ValueError, match="as many ids from -1 to 2"):
            evaluate(untrained(SMALL, tasks), SMALL, family, tasks, 0, torch.tensor(ids))
    separate = replace(SMALL, separate=True)
    with pytest.raises(ValueError, match="ids from 0 to 2"):
        evaluate(untrained(separate, tasks), separate, family, tasks, 0, torch.tensor([0, -1, 1]))
    assert evaluate(untrained(SMALL, tasks), SMALL, family, tasks, 0, torch.tensor([0, -1, 1])).shape == (3, 1)


# Training


@pytest.mark.parametrize(
    "changes", [
        {}, {"task_id": False}, {"separate": True}, {"heads": True}, {"surgery": True}, {"balance": "gradnorm"},
        {"balance": "inverse_loss"}, {"experts": 2}, {"experts": 2, "gate": "input", "task_id": False}, {"return_scale": True},
        {"in_turn": True, "iterations": 3}, {"in_turn": True, "iterations": 3, "rehearse": True},
        {"in_turn": True, "iterations": 3, "ewc": 10.0, "heads": True},
    ], ids=str,
)  # fmt: skip
def test_same_seed_same_result(changes: dict[str, Any]) -> None:
    """Training and evaluation depend on the seed only, not on torch's global state."""
    family, results = Catalogue(tasks=3), []
    for seed, global_seed in ((0, 1), (0, 2), (1, 1)):
        torch.manual_seed(global_seed)
        config = replace(SMALL, seed=seed, **changes)
        results.append(evaluate(train(config, family), config, family, family.catalogue(), 0))
    assert torch.equal(results[0], results[1]) and not torch.equal(results[0], results[2])


def test_progress_and_steps_are_counted() -> None:
    """Progress is told after each round, and the steps are those of all tasks."""
    calls: list[tuple[int, int, float]] = []
    trained = train(SMALL, Catalogue(tasks=3), progress=lambda *call: calls.append(call))
    assert [call[:2] for call in calls] == [(1, 2), (2, 2)] and all(-60 < call[2] < 0 for call in calls)
    assert trained.environment_steps == 2 * 2 * 20 * 3


def test_any_continuous_family_can_be_learned_from_a_fixed_set() -> None:
    """20 tasks sampled from another family are the known set, and their policies can be tried on new tasks."""
    family = Semicircle()
    trained = train(SMALL, family, tasks=family.sample(20, generator()))
    assert try_each(trained, SMALL, family, family.sample(5, generator(1)), 0).shape == (5, 20)


def test_what_cannot_be_trained_is_refused() -> None:
    """Discrete actions, a family without a catalogue, a wrong number of weights: each error says what to do or why."""
    with pytest.raises(ValueError, match="continuous actions"):
        train(SMALL, Bandit(), tasks=torch.zeros(2, 5))
    with pytest.raises(ValueError, match="pass tasks"):
        train(SMALL, Corridor())
    with pytest.raises(ValueError, match="2 task_weights for 3 tasks"):
        train(replace(SMALL, task_weights=(1.0, 1.0)), Catalogue(tasks=3))


@pytest.mark.parametrize(
    "changes",
    [
        {"separate": True, "task_id": False}, {"heads": True, "surgery": True}, {"separate": True, "heads": True},
        {"experts": 2, "balance": "gradnorm"}, {"surgery": True, "balance": "gradnorm"}, {"experts": 2, "task_id": False},
        {"balance": "alphabetical"}, {"experts": 2, "gate": "garden"}, {"rehearse": True}, {"ewc": 1.0},
        {"in_turn": True, "separate": True}, {"in_turn": True, "surgery": True},
    ], ids=str,
)  # fmt: skip
def test_contradictory_settings_are_refused(changes: dict[str, Any]) -> None:
    """Settings that take each other's meaning away are an error, not a silent choice."""
    with pytest.raises(ValueError):
        Config(**changes)


def test_tasks_in_turn_are_collected_and_learned_one_after_another() -> None:
    """Each phase learns from its own task; with rehearsal also from those before, never from those to come."""
    for rehearse in (False, True):
        moments: list[tuple[int, list[int], int]] = []
        config = replace(SMALL, in_turn=True, rehearse=rehearse, iterations=7)  # 2 rounds for each of 3 tasks

        def watch(moment: Moment, moments: list[tuple[int, list[int], int]] = moments) -> None:
            moments.append((moment.done, moment.ids.tolist(), len(moment.batch.reward)))

        calls: list[tuple[int, int, float]] = []
        trained = train(config, FAMILY, progress=lambda *call, calls=calls: calls.append(call), watch=watch)
        learned = [[0], [0], [0, 1], [0, 1], [0, 1, 2], [0, 1, 2]] if rehearse else [[0], [0], [1], [1], [2], [2]]
        assert moments == [(i + 1, ids, len(ids)) for i, ids in enumerate(learned)]
        assert [call[:2] for call in calls] == [(i + 1, 6) for i in range(6)]
        assert trained.environment_steps == 6 * 2 * 20
    with pytest.raises(ValueError, match="2 rounds are not one for each of 3 tasks"):
        train(replace(SMALL, in_turn=True), FAMILY)
    assert train(replace(SMALL, in_turn=True, rehearse=True, iterations=0), FAMILY).environment_steps == 0


def test_rehearsal_draws_from_the_memory_that_each_task_left() -> None:
    """The rows of a finished task are those of its own phase: its rewards, seen again while another task is learned."""
    batches: list[Batch] = []
    config = replace(SMALL, in_turn=True, rehearse=True, iterations=2, normalise_rewards=False, centre_rewards=False)
    train(config, Corridor(), torch.tensor([[1.0], [7.0]]), watch=lambda moment: batches.append(moment.batch))
    assert [b.reward.unique(dim=1).tolist() for b in batches] == [[[1.0]], [[1.0], [7.0]]]


@pytest.mark.parametrize("seed", [0, 1])
def test_the_id_pays(seed: int) -> None:
    """With the id the policy comes within 1.5 of the oracle on its tasks; told a wrong id, or none, it is 8 worse."""
    family = Catalogue()
    tasks, config = family.catalogue(), Config(seed=seed, iterations=30)
    trained = train(config, family)
    right = evaluate(trained, config, family, tasks, 0).mean()
    wrong = evaluate(trained, config, family, tasks, 0, torch.arange(10).roll(3)).mean()
    hidden_config = Config(seed=seed, iterations=15, task_id=False)
    hidden = evaluate(train(hidden_config, family), hidden_config, family, tasks, 0).mean()
    assert right > family.oracle_return(tasks, generator()).mean() - 1.5
    assert right > wrong + 8 and right > hidden + 8
    assert math.isfinite(hidden) and hidden < -15


@pytest.mark.parametrize("seed", [0, 1])
def test_sharing_helps_similar_tasks(seed: int) -> None:
    """On goals within 0.6 rad one shared network is at least 1.5 better than separate ones after the same steps."""
    family, returns = Catalogue(arc=0.6), {}
    for separate in (False, True):
        config = Config(seed=seed, iterations=30, separate=separate)
        returns[separate] = evaluate(train(config, family), config, family, family.catalogue(), 0).mean()
    assert returns[False] > returns[True] + 1.5


def test_command_prints_the_references(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """`--json` prints one object: the return, random and oracle beside it, CPU seconds and every setting."""
    monkeypatch.setattr("sys.argv", ["multi_task", "--iterations", "1", "--tasks", "3", "--seed", "7", "--json"])
    main()
    result = json.loads(capsys.readouterr().out)
    assert {"return", "worst task", "random", "oracle", "environment steps", "cpu seconds"} <= result.keys()
    assert result["settings"]["seed"] == 7 and result["settings"]["iterations"] == 1
    assert result["worst task"] <= result["return"] < result["oracle"]


def gain(family: Varied, base: dict[str, Any], change: dict[str, Any], seed: int) -> float:
    """Mean return that the change brings, in the unit of unscaled rewards."""
    tasks, returns = family.catalogue(), []
    for changes in (base, {**base, **change}):
        config = Config(seed=seed, **changes)
        unscaled = evaluate(train(config, family), config, family, tasks, 0)[:, 0] / family.scale(tasks)
        returns.append(unscaled.mean().item())
    return returns[1] - returns[0]


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, 1])
def test_each_concern_has_a_mitigation_that_shows(seed: int) -> None:
    """Normalisation, the task's id, width and replay each bring, where their concern bites, a part of what docs/concerns.md shows."""
    raw = {"normalise_rewards": False, "centre_rewards": False, "iterations": 30}
    assert gain(FAMILIES["imbalance"], raw, {"normalise_rewards": True, "centre_rewards": True}, seed) > 6
    assert gain(FAMILIES["interference"], {"iterations": 40, "task_id": False}, {"task_id": True}, seed) > 4
    assert gain(FAMILIES["capacity"], {"iterations": 25, "hidden": (16, 16)}, {"hidden": (128, 128)}, seed) > 2
    assert gain(FAMILIES["sequence"], {"in_turn": True, "iterations": 80}, {"rehearse": True}, seed) > 2
