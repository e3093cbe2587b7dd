from dataclasses import replace

import numpy as np
import torch

from advisor import fit
from advisor.fit import controls, train
from advisor.fit.candidates import candidates_of, refusals
from advisor.fit.controls import best_order
from advisor.fit.families import FAMILIES
from advisor.fit.judge import judge
from advisor.fit.plan import Plan
from advisor.fit.train import Job, Outcome
from reference_impls.tasks.semicircle import Semicircle
from tests.fit.small import STAND_INS


def test_order_of_the_dictionary():
    """The policies are tried in the order in which each adds most on the training tasks."""
    returns = np.array([[0.0, 0.0, 9.0], [5.0, 5.0, 0.0], [5.0, 4.0, 0.0]])  # (id, task)
    assert best_order(returns, 2) == [1, 0]
    assert best_order(returns, 5) == [1, 0, 2]


def test_dictionary_keeps_the_best_and_plays_it_anew():
    """Each episode tries another policy; the last plays the best of them again and isn't just the luckiest return seen."""
    job = Job(
        "dictionary",
        "semicircle:Semicircle",
        {},
        {"iterations": 1, "episodes": 1, "updates": 1},
        {"steps": 1, "episodes": 3},
        5,
        0,
    )
    quiet = train.run(job).returns["tried"]
    assert quiet.shape == (4, 5) and np.allclose(
        quiet[-1], quiet[:-1].max(0)
    )  # without noise the same return comes again

    class Noisy(Semicircle):
        def step(self, tasks, state, action, generator=None):
            state, reward, ended = super().step(tasks, state, action, generator)
            return state, reward + torch.randn(reward.shape, generator=generator), ended

    original = controls.family_of
    controls.family_of = lambda job, continuous=False: Noisy()
    try:
        loud = train.run(job).returns["tried"]
    finally:
        controls.family_of = original
    assert not np.isclose(loud[-1], loud[:-1].max(0)).any()


def test_fine_tuning_chooses_its_step_size_on_training_tasks(monkeypatch):
    """Step size and way to act are the best on tasks drawn for training: the test tasks are never played with any other."""
    played = []

    def adapted(algorithm, trained, config, family, tasks, seed, steps, size, still):
        played.append((seed, size, still))
        best = 0.3 if seed == train.TUNING + 7 else 1.0  # another size would be better on the test tasks
        return torch.full((len(tasks), 2), -abs(size - best) + 0.01 * still)

    monkeypatch.setattr(train, "adapted", adapted)
    job = Job("maml", "semicircle:Semicircle", {}, {}, {"steps": 1, "episodes": 2}, 4, 7)
    train.fine_tuned(job, None, None, None, Semicircle())
    assert [choice[1:] for choice in played if choice[0] == train.HELD_OUT + 7] == [(0.3, True)]
    assert len({choice for choice in played if choice[0] == train.TUNING + 7}) == 2 * len(train.STEP_SIZES)


def test_still_policies_adapt_on_the_same_episodes():
    """The likeliest action is played without noise, twice the same, by a policy that has adapted as the sampling one does."""
    from reference_impls import maml
    from reference_impls.tasks.maze import Maze
    from reference_impls.tasks.objects import Objects

    for family in (Objects(), Maze()):
        config = maml.Config(seed=1, episodes=3)
        start = maml.init(config, family)
        loud = maml.Trained(
            {n: v if n == "log_std" else 3 * v for n, v in start.params.items()}, (), 0
        )  # no tiny last layer
        tasks = family.sample(4, torch.Generator().manual_seed(0))
        first, second = (train.adapted(maml, loud, config, family, tasks, seed, 0, 0.1, True) for seed in (1, 2))
        assert torch.allclose(first, second, atol=1e-2) and first.shape == (4, 1)
        moved = train.adapted(maml, loud, config, family, tasks, 1, 1, 1.0, True)
        assert moved.shape == (4, 2) and not torch.allclose(moved[:, 0], moved[:, 1])


def test_limits_refuse_by_name():
    """A limit refuses whom it is about and nobody else, with the reason; without any limit everybody is admitted."""
    family = FAMILIES["objects"]
    everybody = candidates_of("maml", "objects", family)
    assert refusals(everybody, {}, family, 10, gradients=True) == {}
    assert set(refusals(everybody, {}, family, 10, gradients=False)) == {
        "MAML", "from scratch", "multi-task, then fine-tuned"}  # fmt: skip
    assert set(refusals(everybody, {"task_belief": "required"}, family, 10, gradients=True)) == {"RL²"}
    alone = refusals(candidates_of("pearl", "diagnosis", FAMILIES["diagnosis"]), {}, FAMILIES["diagnosis"], 0, True)
    assert "known tasks' policies in turn" in alone and all("no form" in why for why in alone.values())


def test_a_better_control_says_what_it_means():
    """Every control that could turn out better says what that means for the recommendation, the unadapted one apart."""
    for verdict, name in (("multi_task", "cities"), ("maml", "objects"), ("rl2", "regimes"), ("pearl", "semicircle")):
        rivals = [c for c in candidates_of(verdict, name, FAMILIES[name]) if c.role == "control"]
        assert all(c.means for c in rivals if c.name != "unadapted")


def test_unadapted_is_the_same_training():
    """The unadapted control is the recommended one's own training, tested without adapting."""
    for verdict in ("maml", "rl2", "pearl"):
        first, second, *_ = candidates_of(verdict, "semicircle", FAMILIES["semicircle"])
        assert (first.role, second.name) == ("recommended", "unadapted")
        assert first.training == second.training and replace(first, outcome=second.outcome) != first


def stages(verdict, scenario_test, counts):
    """The stages that are compared, for trainings that brought so many stages each: stage k of a return is the number k."""
    family = FAMILIES["objects" if verdict == "maml" else "semicircle"]
    row = replace(
        next(r for r in STAND_INS if r.verdict == verdict), test=scenario_test,
        candidates=candidates_of(verdict, "objects", family),
    )  # fmt: skip
    plan = Plan(verdict, "", row, row.candidates, {}, {}, "smoke", 2)
    outcomes = {n: [Outcome({o: np.arange(k)[:, None] * 1.0}, 0)] for n, (o, k) in counts.items()}
    return {
        n: fit._returns(plan, next(c for c in row.candidates if (c.training, c.outcome) == (n, o)), outcomes)[0][:, 0].tolist()
        for n, (o, _) in counts.items()
    }  # fmt: skip


def test_stages_are_compared_at_equal_adaptation_data():
    """A gradient step stands beside the episodes that it takes: a memory's stages are picked at the steps, a step's are held between them."""
    by_step = stages(
        "maml",
        {"steps": 2, "episodes": 3},
        {"maml": ("adapted", 3), "rl2": ("remembering", 7), "pearl": ("believing", 5)},
    )
    assert by_step == {"maml": [0, 1, 2], "rl2": [0, 3, 6], "pearl": [0, 3, 4]}
    by_episode = stages("pearl", {"steps": 1, "episodes": 3}, {"pearl": ("believing", 4), "maml": ("adapted", 2)})
    assert by_episode == {"pearl": [0, 1, 2, 3], "maml": [0, 0, 0, 1]}


def test_a_shift_is_worded_as_a_warning():
    """Where nothing is reliable, the judgement speaks of the fall: borne out where every method stays behind, and not where one doesn't."""
    high, low = np.full((3, 20), 0.8), np.full((3, 20), 0.1)
    noise = np.random.default_rng(0).normal(scale=0.01, size=(3, 20))
    assert "borne out: off" in fit.shift_reason(judge(high + noise, {"RL², shifted": low, "PEARL, shifted": low / 2}))
    refuted = fit.shift_reason(judge(low + noise, {"RL², shifted": high, "PEARL, shifted": low / 2}))
    assert "not borne out" in refuted and "`RL², shifted` is better" in refuted
