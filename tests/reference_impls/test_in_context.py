"""The in-context learner, few-shot fine-tuning beside it, and the rules that both are tried on."""

import json
import math
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F

from reference_impls import in_context
from reference_impls.in_context import Config, Network, Trained, drawn, evaluate, fine_tune, loss, prompts, right, train
from reference_impls.tasks.in_context import Labels

FAMILY = Labels()


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def small(seed=0):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return Network(Config(width=8, heads=2), FAMILY)


@pytest.fixture(scope="module")
def learners():
    """Two seeds, pretrained for a few seconds."""
    found = []
    for seed in (0, 1):
        config = Config(seed=seed, iterations=200)
        found.append((config, train(config, FAMILY)))
    return found


def test_labels_are_those_of_the_rule():
    """A word is a yes where it lies on the side that the rule points to, and rules lie on the upper half."""
    rules = FAMILY.sample(50, seeded())
    words, labels = FAMILY.points(rules, 4, seeded(1))
    assert words.shape == (50, 4, 2) and labels.shape == (50, 4, 1)
    for rule, word, label in zip(rules, words, labels, strict=True):
        assert torch.equal(label[:, 0] > 0.5, word @ rule > 0)
    assert (rules[:, 1] >= 0).all() and rules.norm(dim=-1).allclose(torch.tensor(1.0))


def test_at_distance_one_yes_and_no_have_changed_places():
    """Turned by half a circle, the same draw gives the opposite label to each word."""
    far = FAMILY.moved(1.0)
    words, labels = FAMILY.points(FAMILY.sample(20, seeded()), 5, seeded(1))
    same, swapped = far.points(far.sample(20, seeded()), 5, seeded(1))
    assert torch.equal(words, same) and torch.equal(labels, 1 - swapped)
    assert torch.equal(FAMILY.shifted(20, seeded()), far.sample(20, seeded()))


def test_settings_that_make_no_sense_are_refused():
    """Counts below one and sizes that aren't are named."""
    for wrong in ({"examples": 0}, {"queries": 0}, {"spread": 0.0}, {"word_size": 3}):
        with pytest.raises(ValueError, match="at least one"):
            Labels(**wrong)
    with pytest.raises(ValueError, match="heads is 0"):
        Config(heads=0)


def test_exact_posterior_agrees_with_counting():
    """The probability of a yes is the share of the rules that fit all examples and say yes, by counting many of them."""
    rules = FAMILY.sample(5, seeded())
    words, labels = FAMILY.points(rules, 3, seeded(1))
    asked, _ = FAMILY.points(rules, 4, seeded(2))
    found = FAMILY.bayes_labels(words, labels, asked)
    many = FAMILY.sample(100_000, seeded(3))
    for task in range(5):
        fits = ((many @ words[task].T > 0) == (labels[task, :, 0] > 0.5)).all(1)
        counted = (many[fits] @ asked[task].T > 0).float().mean(0)
        torch.testing.assert_close(found[task], counted, atol=0.08, rtol=0)


def test_an_answer_sees_neither_its_own_label_nor_what_comes_later():
    """Other labels from a word on, and other words after it, leave its answer as it was; earlier labels don't."""
    network, (words, labels) = small(), FAMILY.points(FAMILY.sample(6, seeded()), 4, seeded(1))
    answer = network(words, labels[:, :3])
    later_words, later_labels = words.clone(), labels.clone()
    later_words[:, 2:], later_labels[:, 1:] = 5.0, 0.5
    changed = network(later_words, later_labels[:, :3])
    torch.testing.assert_close(changed[:, :2], answer[:, :2])
    assert (changed[:, 2:] - answer[:, 2:]).abs().min() > 1e-4
    earlier = network(words, torch.cat([1 - labels[:, :1], labels[:, 1:3]], 1))
    torch.testing.assert_close(earlier[:, 0], answer[:, 0])
    assert (earlier[:, 1:] - answer[:, 1:]).abs().min() > 1e-6


def test_loss_is_the_mean_over_examples_before_it():
    """The loss of whole prompts is the mean of the cross-entropies of each answer read by itself, from a shorter prompt."""
    network, (words, labels) = small(), FAMILY.points(FAMILY.sample(6, seeded()), 4, seeded(1))
    each = [
        F.binary_cross_entropy(network(words[:, : k + 1], labels[:, :k])[:, -1].sigmoid(), labels[:, k, 0])
        for k in range(4)
    ]
    torch.testing.assert_close(loss(network, words, labels), torch.stack(each).mean())


def test_a_prompt_for_each_word_asked():
    """Every word asked is put behind the same examples."""
    words, labels = FAMILY.points(FAMILY.sample(2, seeded()), 3, seeded(1))
    asked = torch.randn(2, 5, 2, generator=seeded(2))
    whole, shown = prompts((words, labels), asked)
    assert whole.shape == (2, 5, 4, 2) and shown.shape == (2, 5, 3, 1)
    assert torch.equal(whole[1, 3], torch.cat([words[1], asked[1, 3:4]])) and torch.equal(shown[1, 3], labels[1])


def test_fine_tuning_is_gradient_descent_on_the_examples():
    """All tasks at once give what a plain loop over tasks and steps gives."""
    trained, config, tasks = Trained(small(), (), 0), Config(), FAMILY.sample(3, seeded())
    found = fine_tune(trained, config, FAMILY, tasks, 5, steps=3, step_size=0.5)
    (words, labels), (asked, truth) = drawn(FAMILY, tasks, 5)
    for task in range(3):
        for k in range(4):
            network = small()
            nothing = torch.zeros(k, 0, 1)
            for _ in range(3 if k else 0):
                answer = network(words[task, :k].unsqueeze(1), nothing).squeeze(-1)
                gradient = torch.autograd.grad(F.binary_cross_entropy_with_logits(answer, labels[task, :k, 0]), list(network.parameters()),
                                               allow_unused=True)  # fmt: skip
                with torch.no_grad():
                    for p, g in zip(network.parameters(), gradient, strict=True):
                        p -= 0.5 * (0 if g is None else g)
            share = right(
                network(asked[task].unsqueeze(1), torch.zeros(32, 0, 1)).squeeze(-1)[None], truth[task : task + 1]
            )
            assert float(share) == pytest.approx(float(found[task, k]), abs=1 / 32 + 1e-9)


def test_both_ways_begin_at_the_empty_prompt(learners):
    """Without an example, reading and tuning are the same network with the same answers."""
    config, trained = learners[0]
    tasks = FAMILY.sample(50, seeded(2))
    read, tuned = evaluate(trained, config, FAMILY, tasks, 3), fine_tune(trained, config, FAMILY, tasks, 3, 2, 0.1)
    assert read.shape == tuned.shape == (50, 4) and torch.equal(read[:, 0], tuned[:, 0])


def test_it_learns_to_learn_from_its_prompt(learners):
    """After three examples at least two thirds of the way from the empty prompt to the exact posterior is gone, for both seeds."""
    for config, trained in learners:
        tasks = FAMILY.sample(500, seeded(10_000 + config.seed))
        read = evaluate(trained, config, FAMILY, tasks, config.seed).mean(0)
        examples, (asked, truth) = drawn(FAMILY, tasks, config.seed)
        best = float(right(FAMILY.bayes_labels(*examples, asked) - 0.5, truth).mean())
        assert read[0] + 2 / 3 * (best - read[0]) < read[3] < best + 0.01
        assert (read.diff() > 0).all()


def test_where_yes_and_no_have_changed_places_the_prompt_does_not_replace_tuning(learners):
    """On swapped labels the prompt lifts the learner no higher than a coin, and tuning on the same examples beats it, for both seeds."""
    far = FAMILY.moved(1.0)
    for config, trained in learners:
        tasks = far.sample(150, seeded(10_000 + config.seed))
        read = evaluate(trained, config, far, tasks, config.seed).mean(0)[3]
        tuned = fine_tune(trained, config, far, tasks, config.seed, 10, 0.3).mean(0)[3]
        assert read < 0.6 and tuned > read + 0.1


def test_training_is_repeatable_and_leaves_the_global_generator_alone():
    """The same seed gives the same weights, another one others, whatever was drawn before."""
    config = Config(iterations=3, tasks=8, width=8, heads=2)
    torch.manual_seed(3)
    before = torch.get_rng_state()
    told = []
    first = train(config, FAMILY, progress=lambda *figures: told.append(figures))
    assert torch.equal(torch.get_rng_state(), before)
    torch.rand(5)
    second, third = train(config, FAMILY), train(replace(config, seed=1), FAMILY)
    assert first.history == second.history != third.history
    assert [t[:2] for t in told] == [(1, 3), (2, 3), (3, 3)] and told[-1][2] == first.history[-1]
    assert first.prompts == 24 and 0 < first.history[0] < 3 * math.log(2)


def test_main_prints_both_ways_as_json(capsys):
    """The command line gives the share of right labels for both ways at three distances."""
    in_context.main(
        ["--iterations", "2", "--tasks", "8", "--width", "8", "--test-tasks", "4", "--steps", "1", "--json"]
    )
    found = json.loads(capsys.readouterr().out)
    for distance in ("0.0", "0.5", "1.0"):
        assert {len(v) for v in found[f"distance {distance}"].values()} == {4}
    with pytest.raises(SystemExit):
        in_context.main(["--iterations", "0"])
