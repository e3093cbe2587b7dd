"""PEARL: exact checks of the belief and of the losses' parts, and short proofs of learning."""

import dataclasses
import json
import math
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from reference_impls import pearl
from reference_impls.off_policy import (
    Actor,
    Replay,
    Transitions,
    TwinCritic,
    bootstrap_target,
    rewarded_episodes,
)
from reference_impls.pearl import Config, Family, Networks, Trained
from reference_impls.saving import Scalars
from reference_impls.tasks.diagnosis import Diagnosis
from reference_impls.tasks.semicircle import Semicircle

SPARSE = Semicircle(sparse=True)
FAMILIES = [Semicircle(), SPARSE, Diagnosis()]
SHORT = {"iterations": 2, "gradient_steps": 2, "initial_episodes": 1, "train_tasks": 8, "meta_batch": 4}


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def untrained(family: Family, seed: int = 0) -> Trained:
    torch.manual_seed(seed)
    return Trained(Networks(Config.for_family(family), family), ())


def random_context(family: Family, tasks: int, tuples: int) -> Tensor:
    return torch.randn(tasks, tuples, 2 * family.observation_size + family.action_size + 1, generator=seeded(5))


@torch.no_grad()
def posterior(trained: Trained, context: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    encoder = trained.networks.encoder
    return encoder.moments(encoder.belief(context, mask))


@pytest.mark.parametrize("family", FAMILIES)
def test_posterior_knows_no_order(family: Family) -> None:
    """The posterior of a shuffled context is that of the context, to 1e-6."""
    trained, context, mask = untrained(family), random_context(family, 4, 30), torch.ones(4, 30)
    shuffled = context[:, torch.randperm(30, generator=seeded(1))]
    for one, other in zip(posterior(trained, context, mask), posterior(trained, shuffled, mask), strict=True):
        torch.testing.assert_close(one, other, atol=1e-6, rtol=1e-6)


def test_gaussian_posterior_narrows_with_every_transition() -> None:
    """Variance in each dimension, and with it the entropy, falls with each transition, beginning at the prior."""
    family = Semicircle()
    trained, context = untrained(family), random_context(family, 4, 25)
    masks = [(torch.arange(25) < n).float().expand(4, 25) for n in range(26)]
    variances = torch.stack([posterior(trained, context, mask)[1] for mask in masks])
    entropies = 0.5 * (2.0 * math.pi * math.e * variances).log().sum(dim=-1)
    torch.testing.assert_close(variances[0], torch.ones(4, 2))
    assert (variances.diff(dim=0) < 0.0).all() and (entropies.diff(dim=0) < 0.0).all()


def test_product_of_gaussians_against_the_closed_form() -> None:
    """The posterior is the normalised product of prior and factors: the log densities differ by a constant."""
    family = Semicircle()
    trained, context = untrained(family), random_context(family, 1, 3)
    mean, variance = (moment.double() for moment in posterior(trained, context, torch.ones(1, 3)))
    with torch.no_grad():
        factor_means, factor_variances = trained.networks.encoder.moments(trained.networks.encoder(context).double())
    z = torch.linspace(-1.0, 1.0, 9, dtype=torch.float64).unsqueeze(-1).expand(9, 2)  # (point, latent)
    density = torch.distributions.Normal(0.0, 1.0).log_prob(z)
    for n in range(3):
        density = density + torch.distributions.Normal(factor_means[0, n], factor_variances[0, n].sqrt()).log_prob(z)
    difference = density - torch.distributions.Normal(mean[0], variance[0].sqrt()).log_prob(z)
    torch.testing.assert_close(difference, difference[:1].expand(9, 2), atol=1e-4, rtol=0.0)


def test_product_of_categoricals_is_bayes_rule() -> None:
    """The categorical belief is the normalised product of its factors' probabilities."""
    family = Diagnosis()
    trained, context = untrained(family), random_context(family, 3, 6)
    belief, _ = posterior(trained, context, torch.ones(3, 6))
    with torch.no_grad():
        product = trained.networks.encoder(context).exp().prod(dim=1)
    torch.testing.assert_close(belief, product / product.sum(dim=-1, keepdim=True))


def test_kl_against_torch() -> None:
    """The KL between two Gaussians is that of torch.distributions, and zero between equal ones."""
    mean, variance = torch.randn(5, 2, generator=seeded()), torch.rand(5, 2, generator=seeded(1)) + 0.1
    other_mean, other_variance = torch.randn(5, 2, generator=seeded(2)), torch.rand(5, 2, generator=seeded(3)) + 0.1
    expected = torch.distributions.kl_divergence(
        torch.distributions.Normal(mean, variance.sqrt()), torch.distributions.Normal(other_mean, other_variance.sqrt())
    )
    torch.testing.assert_close(pearl.gaussian_kl(mean, variance, other_mean, other_variance), expected.sum(dim=-1))
    torch.testing.assert_close(pearl.gaussian_kl(mean, variance, mean, variance), torch.zeros(5))


def test_an_end_stops_the_bootstrap_and_a_time_limit_does_not() -> None:
    """The target of an end is its reward; the last step of a truncated episode keeps the value after it."""
    family = Semicircle()
    trained = untrained(family)
    tasks = family.sample(2, seeded())
    episode, _ = pearl.rollout(trained.networks, family, tasks, trained.networks.encoder.prior(2), seeded(), 0.0)
    value = torch.full((2,), 3.0)
    last = bootstrap_target(episode.reward[:, -1], episode.terminated[:, -1], value, 0.9)
    torch.testing.assert_close(last, episode.reward[:, -1] + 0.9 * 3.0)
    ended = bootstrap_target(torch.tensor([1.0, 1.0]), torch.tensor([True, False]), value, 0.9)
    torch.testing.assert_close(ended, torch.tensor([1.0, 1.0 + 0.9 * 3.0]))


def test_action_density_against_torch() -> None:
    """The actor's log density is that of a Gaussian pushed through tanh."""
    torch.manual_seed(0)
    actor, inputs = Actor(4, 16, 2), torch.randn(7, 4)
    action, log_density = actor(inputs, seeded())
    mean, log_std = actor.body(inputs).chunk(2, dim=-1)
    squashed = torch.distributions.TransformedDistribution(
        torch.distributions.Normal(mean, log_std.exp()), torch.distributions.TanhTransform()
    )
    torch.testing.assert_close(log_density, squashed.log_prob(action).sum(dim=-1), atol=1e-4, rtol=1e-4)


def test_twin_critic_is_two_separate_networks() -> None:
    """The batched critic gives the values of two ordinary networks with the same weights."""
    torch.manual_seed(0)
    critic, inputs = TwinCritic(5, 16), torch.randn(6, 5)
    for k in range(2):
        hidden = inputs
        for layer, (weight, bias) in enumerate(zip(critic.weight, critic.bias, strict=True)):
            hidden = (hidden if layer == 0 else hidden.relu()) @ weight[k] + bias[k]
        torch.testing.assert_close(critic(inputs)[k], hidden.squeeze(-1))


def test_rollout_against_a_plain_loop() -> None:
    """Transitions, returns and the belief of a batched rollout are those of a loop over tasks and steps."""
    family = Semicircle()
    networks = untrained(family).networks
    tasks, prior = family.sample(3, seeded(2)), networks.encoder.prior(3)
    episode, natural = pearl.rollout(networks, family, tasks, prior, seeded(4))
    noise = torch.randn(3, 2, generator=seeded(4))
    assert networks.actor is not None
    for task in range(3):
        state, belief = torch.zeros(2), prior[task]
        for step in range(family.horizon):
            with torch.no_grad():
                action, _ = networks.actor(torch.cat([state, noise[task]]), None)
                after, reward, _ = family.step(tasks[task], state, action)
                belief = belief + networks.encoder(torch.cat([state, action, reward.view(1), after]))
            torch.testing.assert_close(episode.reward[task, step], reward)
            torch.testing.assert_close(episode.next_observation[task, step], after)
            state = after
        torch.testing.assert_close(natural[task], belief)


def test_return_counts_only_what_came_before_the_end() -> None:
    """The return of an evaluated case is the sum of its rewards up to and including the end."""
    family = Diagnosis()
    trained, config = untrained(family, seed=1), Config.for_family(family)
    tasks = family.sample(50, seeded())
    returns = pearl.evaluate(trained, config, family, tasks, seed=3, episodes=1)[:, 0]
    episode, _ = pearl.rollout(trained.networks, family, tasks, trained.networks.encoder.prior(50), seeded(3))
    for task in range(50):
        total = 0.0
        for step in range(family.horizon):
            total += float(episode.reward[task, step])
            if episode.terminated[task, step]:
                break
        assert float(returns[task]) == pytest.approx(total, abs=1e-5)


def numbered(start: int, rows: int) -> Transitions:
    """Transitions of four tasks whose every number is task * 10 + row, rows counted from `start`."""
    number = torch.arange(4).unsqueeze(1) * 10.0 + torch.arange(start, start + rows)  # (task, row)
    flag = torch.zeros(4, rows, dtype=torch.bool)
    wide = number.unsqueeze(-1)
    return Transitions(wide, wide, number, wide, flag, ~flag)


def test_replay_returns_the_rows_that_were_stored() -> None:
    """Selecting tasks and rows from the replay gives exactly the transitions that were put in there, in their order."""
    replay = Replay(tasks=4, rows=9, observation_size=1, action_size=1)
    replay.add(numbered(0, 3))
    replay.add(numbered(3, 3))
    chosen, rows = torch.tensor([3, 1]), torch.tensor([[0, 5], [4, 2]])
    buffer = replay.latest()
    assert buffer.select(chosen, rows).reward.tolist() == [[30.0, 35.0], [14.0, 12.0]]
    assert buffer.select(chosen).observation[1, :, 0].tolist() == [10.0, 11.0, 12.0, 13.0, 14.0, 15.0]
    assert replay.latest(2).reward[2].tolist() == [24.0, 25.0]


def test_hints_are_rewarded_episodes() -> None:
    """A hint is a whole rewarded episode of its task out of the first ones; where there is none, no step of it counts."""
    episodes = numbered(0, 6)  # three episodes of two steps
    reward = torch.zeros(4, 6)
    reward[0, 3] = reward[1, 0] = reward[2, 5] = 1.0  # task 2's is the third episode, task 3 has none
    buffer = episodes._replace(reward=reward)
    hint = rewarded_episodes(buffer, torch.tensor([0, 1, 2, 3]), 2, 2, 1.0, seeded())
    assert hint.observation[:2, :, 0].tolist() == [[2.0, 3.0], [10.0, 11.0]]
    assert hint.valid.tolist() == [[True, True], [True, True], [False, False], [False, False]]
    assert not rewarded_episodes(buffer, torch.tensor([0, 1]), 2, 2, 0.0, seeded()).valid.any()


def test_averaged_trainings_end_with_the_target_critic() -> None:
    """With `averaged` the critic that acts is the running mean, else the last one; all the rest of the training is the same."""
    family = Diagnosis()
    config = Config.for_family(family, **{**SHORT, "target_rate": 0.0})  # a target that stays where it began
    torch.manual_seed(config.seed)
    first = Networks(config, family).critic.state_dict()
    for averaged in (True, False):
        networks = pearl.train(dataclasses.replace(config, averaged=averaged), family).networks
        same = [torch.equal(tensor, first[name]) for name, tensor in networks.critic.state_dict().items()]
        assert all(same) if averaged else not any(same)


def test_critic_trains_the_encoder_and_the_actor_does_not() -> None:
    """The encoder, but not the prior, learns from the critic's loss even without KL, and nothing from the actor's."""
    family = Semicircle()
    config = Config(kl_weight=0.0, rows=3, learned_prior=True)
    torch.manual_seed(0)
    networks = Networks(config, family)
    tasks = family.sample(4, seeded())
    batch, _ = pearl.rollout(networks, family, tasks, networks.encoder.prior(4), seeded(), 0.0)
    critic_loss, actor_loss = pearl.sac_loss(
        networks, networks.critic, batch, batch, None, family.horizon, config, seeded()
    )
    body: list[nn.Parameter] = list(networks.encoder.body.parameters())
    gradients = torch.autograd.grad(critic_loss, [*body, networks.encoder.start])
    assert all(float(g.abs().sum()) > 0.0 for g in gradients[:-1])
    assert not gradients[-1].any()  # the prior learns from the KL terms alone
    assert all(g is None for g in torch.autograd.grad(actor_loss, body, allow_unused=True))


def test_calibration_term_against_its_definition() -> None:
    """The calibration term is KL(belief after all || belief before the first reward), over the tasks that have a hint.

    It is taken alone, as the difference of the losses with and without its weight, and pulls at no belief after all.
    """
    family, on = Semicircle(sparse=True, horizon=1), dataclasses.replace(Config(), posterior_episodes=0, rows=1)
    networks = untrained(family).networks
    encoder, tasks = networks.encoder, family.sample(4, seeded())
    prior, found = encoder.prior(4), torch.tensor([[False], [True], [False], [False]])
    recent, _ = pearl.rollout(networks, family, tasks, prior, seeded(1), 0.0)
    recent = recent._replace(reward=found.float())  # the second task's only transition is rewarded: nothing before it
    hint, _ = pearl.rollout(networks, family, tasks, prior, seeded(2), 0.0)
    hint = hint._replace(valid=torch.tensor([[True], [True], [True], [False]]))
    losses = [
        pearl.sac_loss(
            networks, networks.critic, recent, recent, hint, 1, dataclasses.replace(on, calibration_weight=w), seeded()
        )[0]
        for w in (1.0, 0.0)
    ]
    factor, hinted = encoder(recent.context()[:, 0]), encoder(hint.context()[:, 0])
    after = encoder.moments((prior + factor + hinted).detach())
    before = encoder.moments(prior + factor * ~found)
    expected = pearl.gaussian_kl(*after, *before)[:3].sum() / 4
    torch.testing.assert_close(losses[0] - losses[1], expected, atol=1e-5, rtol=1e-4)
    parameters = list(encoder.parameters())
    pairs = zip(
        torch.autograd.grad(losses[0] - losses[1], parameters), torch.autograd.grad(expected, parameters), strict=True
    )
    for one, other in pairs:
        torch.testing.assert_close(one, other, atol=1e-4, rtol=1e-3)


def test_neither_kl_term_counts_before_its_share_of_the_training() -> None:
    """The prior, which learns from the KL terms alone, stays as it is until the training is as far as `kl_from`."""
    for kl_from, moves in ((1.0, False), (0.5, True)):
        config = Config.for_family(SPARSE, **{**SHORT, "kl_from": kl_from})
        assert bool(pearl.train(config, SPARSE).networks.encoder.start.any()) is moves


def test_a_held_action_is_played_throughout() -> None:
    """A rollout with held actions moves each robot by its own action at every step, whatever the policy says."""
    networks, tasks = untrained(SPARSE).networks, SPARSE.sample(3, seeded())
    held = torch.tensor([[1.0, 0.0], [0.0, -0.5], [0.2, 0.3]])
    episode, _ = pearl.rollout(networks, SPARSE, tasks, networks.encoder.prior(3), seeded(), held=held)
    torch.testing.assert_close(episode.next_observation[:, -1], held * SPARSE.step_size * SPARSE.horizon)
    assert torch.equal(episode.action, held.unsqueeze(1).expand(3, SPARSE.horizon, 2))


def test_deterministic_latent_is_the_mean_of_the_belief() -> None:
    """With `deterministic`, z is the mean of the belief; without, it varies about it with the belief's variance."""
    for deterministic in (True, False):
        config = Config(deterministic=deterministic)
        encoder = Networks(config, SPARSE).encoder
        natural = torch.cat([torch.full((5000, 2), 3.0), torch.full((5000, 2), 4.0)], dim=-1)
        z = encoder.sample(natural, seeded())
        torch.testing.assert_close(z.mean(dim=0), torch.full((2,), 0.75), atol=0.03, rtol=0.0)
        torch.testing.assert_close(z.std(dim=0), torch.full((2,), 0.0 if deterministic else 0.5), atol=0.03, rtol=0.0)


@pytest.mark.parametrize("family", FAMILIES)
def test_resumes_bit_for_bit(family: Family, tmp_path: Path) -> None:
    """A training that stopped and went on from its file ends with the weights, returns and log of one never stopped."""
    config = Config.for_family(family, **SHORT)

    class Stopped(Exception):
        """Stands for whatever ends a training early."""

    def stop(done: int, total: int, now: float) -> None:
        if done == 2:
            raise Stopped

    with Scalars(tmp_path / "whole.jsonl") as log:
        whole = pearl.train(config, family, log=log)
    with pytest.raises(Stopped):  # in the second iteration, before it is saved
        pearl.train(config, family, stop, checkpoint=tmp_path / "state")
    with Scalars(tmp_path / "resumed.jsonl") as log:
        resumed = pearl.train(config, family, checkpoint=tmp_path / "state", log=log)
    assert resumed.returns == whole.returns
    for name, tensor in whole.networks.state_dict().items():
        assert torch.equal(tensor, resumed.networks.state_dict()[name]), name
    lines = [json.loads(line) for line in (tmp_path / "whole.jsonl").read_text().splitlines()]
    assert [line["iteration"] for line in lines] == [1, 2]
    assert lines[1:] == [json.loads(line) for line in (tmp_path / "resumed.jsonl").read_text().splitlines()]


def test_a_checkpoint_of_other_settings_is_refused(tmp_path: Path) -> None:
    """Going on from the file of another training is a ValueError that names the file, and leaves the file alone."""
    config = Config.for_family(SPARSE, **SHORT)
    pearl.train(config, SPARSE, checkpoint=tmp_path / "state")
    content = (tmp_path / "state").read_bytes()
    for family, other in ((SPARSE, dataclasses.replace(config, seed=1)), (Semicircle(), config)):
        with pytest.raises(ValueError, match="state"):
            pearl.train(other, family, checkpoint=tmp_path / "state")
    assert (tmp_path / "state").read_bytes() == content


@pytest.mark.parametrize("family", FAMILIES)
def test_same_seed_same_result(family: Family) -> None:
    """Training and evaluating twice with one seed gives the same returns, whatever torch's global generator holds."""
    config = Config.for_family(family, seed=7, **SHORT)
    tasks = family.sample(5, seeded())
    results = []
    for other_seed in (1, 2):
        torch.manual_seed(other_seed)
        results.append(pearl.evaluate(pearl.train(config, family), config, family, tasks, seed=0))
    assert torch.equal(results[0], results[1])


def test_unadapted_belief_stays_at_the_prior() -> None:
    """Without adapting, a rollout leaves the belief as it was, in both kinds of family."""
    for family in FAMILIES:
        networks = untrained(family).networks
        prior = networks.encoder.prior(3)
        _, natural = pearl.rollout(networks, family, family.sample(3, seeded()), prior, seeded(), adapt=False)
        assert torch.equal(natural, prior)


def test_a_misspelt_setting_fails() -> None:
    """An unknown setting is a TypeError that names it."""
    with pytest.raises(TypeError, match="meta_bach"):
        Config.for_family(Semicircle(), meta_bach=3)


def test_progress_is_told_each_iteration() -> None:
    """The progress callback hears done, total and the current return once per iteration."""
    heard: list[tuple[int, int, float]] = []
    trained = pearl.train(Config.for_family(Semicircle(), **SHORT), Semicircle(), lambda *told: heard.append(told))
    assert [(done, total) for done, total, _ in heard] == [(1, 2), (2, 2)]
    assert tuple(now for _, _, now in heard) == trained.returns


def test_main_prints_one_json_document(capsys: pytest.CaptureFixture[str]) -> None:
    """With --json the command prints one document with returns, random and oracle."""
    pearl.main(["--family", "diagnosis", "--iterations", "1", "--test-tasks", "20", "--json"])
    result = json.loads(capsys.readouterr().out)
    assert len(result["returns"]) == 4 and {"unadapted", "random", "oracle", "cpu_seconds"} <= set(result)


@pytest.mark.parametrize("seed", [0, 1])
def test_learns_to_find_unseen_goals(seed: int) -> None:
    """After a short training, adapted beats unadapted and episode 1 by 5, and random by 8, on held-out goals."""
    torch.set_num_threads(1)
    family = Semicircle()
    config = Config.for_family(family, seed=seed, iterations=12)
    trained = pearl.train(config, family)
    tasks = family.sample(300, seeded(100 + seed))
    returns = pearl.evaluate(trained, config, family, tasks, seed).mean(dim=0)
    unadapted = pearl.evaluate(trained, config, family, tasks, seed, adapt=False).mean(dim=0)
    assert returns[3] > returns[0] + 5.0
    assert returns[3] > unadapted[3] + 5.0
    assert returns[3] > family.random_return(tasks, seeded()).mean() + 8.0


@pytest.mark.parametrize("seed", [0, 1])
def test_learns_to_diagnose(seed: int) -> None:
    """After a short training the return is over half the exact optimum, and below zero if the belief never moves."""
    torch.set_num_threads(1)
    family = Diagnosis()
    config = Config.for_family(family, seed=seed, iterations=15)
    trained = pearl.train(config, family)
    tasks = family.sample(1000, seeded(100 + seed))
    assert pearl.evaluate(trained, config, family, tasks, seed).mean() > 0.5 * family.bayes_optimum()
    assert pearl.evaluate(trained, config, family, tasks, seed, adapt=False).mean() < 0.0


@pytest.mark.slow
def test_learns_from_sparse_rewards() -> None:
    """After half of its training, episode 10 on held-out goals pays twice episode 1 and thrice a belief never moved."""
    torch.set_num_threads(1)
    config = Config.for_family(SPARSE, seed=0, iterations=20)
    trained = pearl.train(config, SPARSE)
    tasks = SPARSE.sample(500, seeded(100))
    returns = pearl.evaluate(trained, config, SPARSE, tasks, seed=0, episodes=10).mean(dim=0)
    unadapted = pearl.evaluate(trained, config, SPARSE, tasks, seed=0, episodes=10, adapt=False).mean(dim=0)
    assert returns[9] > 2.0 * returns[0]
    assert returns[9] > 3.0 * unadapted[9]
