import numpy as np
import pytest
from scipy import stats

from advisor.fit.judge import LEAST_LEAD, bootstrap, interval, iqm, judge, normalise, student_quantile


def made_up(mean, seeds=3, tasks=40, of_seed=0.02, of_task=0.2, rng=0):
    """Scores (seed, task): a mean, the luck of a training run, the luck of a task."""
    rng = np.random.default_rng(rng)
    return mean + of_seed * rng.normal(size=(seeds, 1)) + of_task * rng.normal(size=(seeds, tasks))


def test_iqm_is_scipys_trimmed_mean():
    """The interquartile mean equals scipy's mean with a quarter trimmed at each end, whatever the size."""
    for size in (1, 3, 4, 10, 37):
        values = np.random.default_rng(size).normal(size=(1, size))
        assert float(iqm(values)) == pytest.approx(stats.trim_mean(values.ravel(), 0.25))


def test_student_quantile_is_scipys():
    """Quantiles of Student's t agree with scipy for odd and even degrees of freedom."""
    for freedom in (1, 2, 3, 4, 9, 30):
        for p in (0.9, 0.975, 0.995):
            assert student_quantile(p, freedom) == pytest.approx(stats.t.ppf(p, freedom), rel=1e-9)


def test_bootstrap_agrees_with_scipy():
    """With one seed there is one stratum, and the interval is scipy's percentile interval up to its own noise."""
    scores = made_up(0.5, seeds=1, tasks=60)
    ours = bootstrap(scores)
    theirs = stats.bootstrap(
        (scores[0],),
        lambda x, axis: stats.trim_mean(x, 0.25, axis=axis),
        method="percentile",
        n_resamples=2000,
        random_state=1,
    ).confidence_interval
    assert ours.low == pytest.approx(theirs.low, abs=0.01) and ours.high == pytest.approx(theirs.high, abs=0.01)


def test_seeds_that_disagree_widen_the_interval():
    """Training runs that disagree give a wide interval, however many tasks each is tested on."""
    steady, unsteady = made_up(0.5, tasks=1000, of_seed=0.0), made_up(0.5, tasks=1000, of_seed=0.3)
    width = [x.high - x.low for x in (interval(steady), interval(unsteady))]
    assert width[1] > 5 * width[0]


def test_normalised_between_random_and_oracle():
    """Random scores 0, the oracle 1, half way one half; pooled tasks are averaged before they are divided."""
    random, oracle = np.array([[-20.0, -10.0]]), np.array([[-4.0, 0.0]])
    assert normalise((random + oracle) / 2, random, oracle).tolist() == [[0.5, 0.5]]
    assert normalise(np.array([[-20.0, 0.0]]), random, oracle, pool=2).tolist() == [[pytest.approx(10 / 26)]]
    with pytest.raises(ValueError, match="above the random"):
        normalise(random, oracle, random)
    with pytest.raises(ValueError, match="groups of 3"):
        normalise(random, random, oracle, pool=3)


def test_clear_lead_fits():
    """A clear lead over every control, and over random, fits, and the closest control is named."""
    answer = judge(made_up(0.8), {"weak": made_up(0.1, rng=1), "close": made_up(0.4, rng=2)})
    assert answer.verdict == "fits" and "`close`" in answer.reason
    assert all(d.low > 0 for d in answer.differences.values())


def test_better_control_does_not_fit():
    """One control clearly ahead is enough for a no, and it is named, though every other is beaten."""
    answer = judge(made_up(0.5), {"weak": made_up(0.1, rng=1), "strong": made_up(0.8, rng=2)})
    assert answer.verdict == "does_not_fit" and "`strong`" in answer.reason


def test_random_level_does_not_fit():
    """What has learned nothing does not fit, even if the controls are worse still."""
    answer = judge(made_up(-0.1), {"weak": made_up(-0.9, rng=1)})
    assert answer.verdict == "does_not_fit" and "no better than random" in answer.reason


def test_small_lead_is_not_enough_evidence():
    """A lead within the noise is no verdict, and the number of further seeds that would settle it is given."""
    answer = judge(made_up(0.53, of_seed=0.05, rng=3), {"close": made_up(0.5, of_seed=0.05, rng=4)})
    assert answer.verdict == "not_enough_evidence"
    assert answer.more_seeds is None or answer.more_seeds >= 1


def level(of_seed, rng):
    """Scores that differ by a seed's luck alone, which is small."""
    return made_up(0.5, seeds=5, of_seed=of_seed, of_task=0.0, rng=rng)


def test_tiny_lead_does_not_fit():
    """A lead of 0.005 that is clear of zero is neither a fit nor, the other way round, a failure: the two are level, and seeds won't help."""
    ahead, behind = level(0.0001, 1) + 0.005, level(0.0001, 2)
    for first, second in ((ahead, behind), (behind, ahead)):
        answer = judge(first, {"close": second})
        assert answer.verdict == "not_enough_evidence" and answer.more_seeds is None
        assert "level for any use" in answer.reason and answer.better is None
        assert answer.differences["close"].low > 0 or answer.differences["close"].high < 0


def test_least_lead_is_the_threshold():
    """Just above the least meaningful lead a clear difference is a verdict, just below it is none, both ways round."""
    base = level(0.0001, 3)
    for lead, verdicts in (
        (1.1 * LEAST_LEAD, ("fits", "does_not_fit")),
        (0.9 * LEAST_LEAD, ("not_enough_evidence",) * 2),
    ):
        assert (judge(base + lead, {"c": base}).verdict, judge(base, {"c": base + lead}).verdict) == verdicts


def test_more_seeds_are_enough():
    """The number of further seeds that is given does settle it, in most of many made-up cases, and their number isn't excessive."""
    settled = asked = 0
    for rng in range(40):
        few = [made_up(m, 3, 40, 0.05, 0.1, 10 * rng + k) for k, m in enumerate((0.6, 0.5))]
        answer = judge(few[0], {"c": few[1]}, resamples=200)
        if answer.more_seeds is not None:
            asked += 1
            seeds = 3 + answer.more_seeds
            many = [made_up(m, seeds, 40, 0.05, 0.1, 10 * rng + k + 5) for k, m in enumerate((0.6, 0.5))]
            settled += judge(many[0], {"c": many[1]}, resamples=200).verdict == "fits"
    assert asked >= 10 and settled >= 0.5 * asked


def test_better_control_is_named():
    """The control that is clearly better is handed on by its name."""
    assert judge(made_up(0.4), {"weak": made_up(0.1, rng=1), "strong": made_up(0.8, rng=2)}).better == "strong"


def test_one_seed_is_refused():
    """A single training run is never judged."""
    with pytest.raises(ValueError, match="2 seeds"):
        judge(made_up(0.9, seeds=1), {"weak": made_up(0.1, seeds=1)})


@pytest.mark.parametrize(("seeds", "controls"), [(3, 1), (3, 3), (5, 2)])
def test_false_verdicts_are_rare(seeds, controls):
    """Where all candidates are equally good, at most 5 % of 200 made-up fits say otherwise, the luck of training runs included."""
    wrong = 0
    for case in range(200):
        rng = 100 * case
        others = {str(i): made_up(0.5, seeds, 20, 0.1, 0.2, rng + i + 1) for i in range(controls)}
        wrong += judge(made_up(0.5, seeds, 20, 0.1, 0.2, rng), others, resamples=100).verdict != "not_enough_evidence"
    assert wrong <= 10
