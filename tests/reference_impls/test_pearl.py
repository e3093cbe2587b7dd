"""PEARL: exact checks of the belief and of the losses' parts, and short proofs of learning."""

import dataclasses
import json

import pytest
import torch
from torch import Tensor, nn

from reference_impls import pearl
from reference_impls.pearl import Config, Family, Networks, Trained, Transitions
from reference_impls.tasks.diagnosis import Diagnosis
from reference_impls.tasks.semicircle import Semicircle

FAMILIES = [Semicircle(), Diagnosis()]
SHORT = {"iterations": 2, "gradient_steps": 2, "initial_episodes": 1, "train_tasks": 8, "meta_batch": 4}


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def untrained(family: Family, seed: int = 0) -> Trained:
    torch.manual_seed(seed)
    return Trained(Networks(Config.for_family(family), family), ())


def random_context(family: Family, tasks: int, tuples: int) -> Tensor:
    return torch.randn(tasks, tuples, 2 * family.observation_size + family.action_size + 1, generator=seeded(5))


@pytest.mark.parametrize("family", FAMILIES)
def test_posterior_knows_no_order(family: Family) -> None:
    """The posterior of a shuffled context is that of the context, to 1e-6."""
    trained, context, mask = untrained(family), random_context(family, 4, 30), torch.ones(4, 30)
    shuffled = context[:, torch.randperm(30, generator=seeded(1))]
    for one, other in zip(
        pearl.posterior(trained, context, mask), pearl.posterior(trained, shuffled, mask), strict=True
    ):
        torch.testing.assert_close(one, other, atol=1e-6, rtol=1e-6)


def test_gaussian_posterior_narrows_with_every_transition() -> None:
    """Variance in each dimension, and with it the entropy, falls with each transition, beginning at the prior."""
    family = Semicircle()
    trained, context = untrained(family), random_context(family, 4, 25)
    masks = [(torch.arange(25) < n).float().expand(4, 25) for n in range(26)]
    variances = torch.stack([pearl.posterior(trained, context, mask)[1] for mask in masks])
    entropies = torch.stack([pearl.entropy(trained, context, mask) for mask in masks])
    torch.testing.assert_close(variances[0], torch.ones(4, 2))
    assert (variances.diff(dim=0) < 0.0).all() and (entropies.diff(dim=0) < 0.0).all()


def test_product_of_gaussians_against_the_closed_form() -> None:
    """The posterior is the normalised product of prior and factors: the log densities differ by a constant."""
    family = Semicircle()
    trained, context = untrained(family), random_context(family, 1, 3)
    mean, variance = (moment.double() for moment in pearl.posterior(trained, context, torch.ones(1, 3)))
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
    belief, _ = pearl.posterior(trained, context, torch.ones(3, 6))
    with torch.no_grad():
        product = trained.networks.encoder(context).exp().prod(dim=1)
    torch.testing.assert_close(belief, product / product.sum(dim=-1, keepdim=True))


def test_kl_against_torch() -> None:
    """The KL term is that of torch.distributions."""
    mean, variance = torch.randn(5, 2, generator=seeded()), torch.rand(5, 2, generator=seeded(1)) + 0.1
    expected = torch.distributions.kl_divergence(
        torch.distributions.Normal(mean, variance.sqrt()), torch.distributions.Normal(0.0, 1.0)
    )
    torch.testing.assert_close(pearl.kl_to_standard_normal(mean, variance), expected.sum(dim=-1))


def test_an_end_stops_the_bootstrap_and_a_time_limit_does_not() -> None:
    """The target of an end is its reward; the last step of a truncated episode keeps the value after it."""
    family = Semicircle()
    trained = untrained(family)
    tasks = family.sample(2, seeded())
    episode, _ = pearl.rollout(trained.networks, family, tasks, trained.networks.encoder.prior(2), seeded(), 0.0)
    value = torch.full((2,), 3.0)
    last = pearl.bootstrap_target(episode.reward[:, -1], episode.terminated[:, -1], value, 0.9)
    torch.testing.assert_close(last, episode.reward[:, -1] + 0.9 * 3.0)
    ended = pearl.bootstrap_target(torch.tensor([1.0, 1.0]), torch.tensor([True, False]), value, 0.9)
    torch.testing.assert_close(ended, torch.tensor([1.0, 1.0 + 0.9 * 3.0]))


def test_action_density_against_torch() -> None:
    """The actor's log density is that of a Gaussian pushed through tanh."""
    torch.manual_seed(0)
    actor, inputs = pearl.Actor(4, 16, 2), torch.randn(7, 4)
    action, log_density = actor(inputs, seeded())
    mean, log_std = actor.body(inputs).chunk(2, dim=-1)
    squashed = torch.distributions.TransformedDistribution(
        torch.distributions.Normal(mean, log_std.exp()), torch.distributions.TanhTransform()
    )
    torch.testing.assert_close(log_density, squashed.log_prob(action).sum(dim=-1), atol=1e-4, rtol=1e-4)


def test_twin_critic_is_two_separate_networks() -> None:
    """The batched critic gives the values of two ordinary networks with the same weights."""
    torch.manual_seed(0)
    critic, inputs = pearl.TwinCritic(5, 16), torch.randn(6, 5)
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


def test_replay_returns_the_rows_that_were_stored() -> None:
    """Selecting tasks and rows from joined records gives exactly the transitions that were put in there."""
    parts = []
    for start in (0, 3):
        number = torch.arange(4).unsqueeze(1) * 10.0 + torch.arange(start, start + 3)  # (task, row): task * 10 + row
        wide, flag = number.unsqueeze(-1), torch.zeros(4, 3, dtype=torch.bool)
        parts.append(Transitions(wide, wide, number, wide, flag, ~flag))
    buffer = Transitions.join(parts)
    chosen, rows = torch.tensor([3, 1]), torch.tensor([[0, 5], [4, 2]])
    assert buffer.select(chosen, rows).reward.tolist() == [[30.0, 35.0], [14.0, 12.0]]
    assert buffer.select(chosen).observation[1, :, 0].tolist() == [10.0, 11.0, 12.0, 13.0, 14.0, 15.0]


def test_critic_trains_the_encoder_and_the_actor_does_not() -> None:
    """The encoder gets a gradient from the critic's loss even without the KL term, and none from the actor's loss."""
    family = Semicircle()
    config = dataclasses.replace(Config(), kl_weight=0.0, rows=3)
    networks = untrained(family).networks
    tasks = family.sample(4, seeded())
    batch, _ = pearl.rollout(networks, family, tasks, networks.encoder.prior(4), seeded(), 0.0)
    critic_loss, actor_loss = pearl.sac_loss(
        networks, networks.critic, batch, batch.context(), family.horizon, 0.0, config, seeded()
    )
    encoder: list[nn.Parameter] = list(networks.encoder.parameters())
    assert all(float(g.abs().sum()) > 0.0 for g in torch.autograd.grad(critic_loss, encoder))
    assert all(g is None for g in torch.autograd.grad(actor_loss, encoder, allow_unused=True))


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
