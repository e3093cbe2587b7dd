"""The diagnosis of the concerns: measures against cases with a known answer, findings against their thresholds."""

import math

import pytest
import torch

from advisor.fit.concerns import KINDS, SIGNS, _scores, conflict, diagnose, measure, spreads
from advisor.rulebook import load
from reference_impls import multi_task
from reference_impls.tasks.varied import FAMILIES, Varied

SMALL = {"hidden": (8, 8), "iterations": 5, "episodes": 2, "updates": 1, "batch": 16}


def test_a_concern_is_present_above_its_threshold_in_the_mean_over_seeds() -> None:
    """Two seeds on either side of a threshold are judged by their mean, and a concern that was not measured has no finding."""
    gap = next(sign for sign in SIGNS if sign.measure == "gap")
    for shift in (-0.01, 0.01):
        (finding,) = diagnose(
            [{"gap": gap.threshold - 0.2 + shift}, {"gap": gap.threshold + 0.2 + shift, "other": 9.0}]
        )
        assert finding.sign is gap and finding.present == (shift > 0)
        assert finding.value == pytest.approx(gap.threshold + shift)
        says = f"found; try {', then '.join(gap.advice)} (" if shift > 0 else "not found ("
        assert finding.says.startswith(f"gradient_interference: {says}") and f"{finding.value:.2f}" in finding.says
    assert diagnose([]) == () and diagnose([{"other": 1.0}]) == ()


def test_advice_names_mitigations_of_the_rules() -> None:
    """Every concern of the rules has one sign, whose advice are steps the rules know for it, simplest first."""
    concerns = load().entries["mitigations"]
    assert {sign.concern for sign in SIGNS} == set(concerns)
    for sign in SIGNS:
        entry = concerns[sign.concern]
        steps = {option["id"]: option["step"] for option in [*entry["before"], *entry["options"]]}
        order = [steps[id] for id in sign.advice]
        assert order == sorted(order) and order


def test_loud_rewards_show_before_any_training() -> None:
    """The spread of the rewards is the ratio of their scales within a factor of 2, and the raw gradients are far apart with it."""
    config = multi_task.Config(seed=1)
    loud, even = Varied(tasks=4, spread=100.0), Varied(tasks=4)
    found = spreads(loud, config, loud.catalogue())
    assert 50 < found["reward_spread"] < 200 and found["gradient_spread"] > 2
    assert spreads(even, config, even.catalogue())["reward_spread"] < 2


def test_scores_are_shares_of_the_way_from_random_to_oracle() -> None:
    """Gap, width and forgetting come out as computed by hand, and a family without an oracle takes its best return for one."""

    class Known:
        def random_return(self, tasks: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
            return torch.tensor([0.0, -100.0])

        def oracle_return(self, tasks: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
            return torch.tensor([10.0, 0.0])

    class Unknown:
        random_return = Known.random_return

    def returns(*values: float) -> torch.Tensor:
        return torch.tensor(values)

    trained = {
        "shared": returns(4, -40),
        "separate": returns(6, -10),
        "wide": returns(5, -40),
        "in_turn": returns(1, -20),
    }
    values = _scores(Known(), torch.zeros(2, 1), trained, [returns(9)[0], returns(-20)[0]], torch.Generator())
    assert values == pytest.approx({"gap": 0.25, "worst_gap": 0.3, "width_gain": 0.05, "forgetting": 0.8})
    del trained["in_turn"]
    values = _scores(Unknown(), torch.zeros(2, 1), trained, [], torch.Generator())
    assert values == pytest.approx({"gap": (2 / 6 + 30 / 90) / 2, "worst_gap": 1 / 3, "width_gain": 1 / 12})


def test_conflict_tells_opposed_tasks_from_agreeing_ones() -> None:
    """Tasks with the same data have cosine 1; where one critic is the negative of the other it is -1."""
    config = multi_task.Config(hidden=(8,), entropy=0.0, task_id=False)
    generator = torch.Generator().manual_seed(0)
    actor = multi_task.MLP(2, 4, config, 2, generator)
    x = torch.randn(1, 16, 2, generator=generator).expand(2, -1, -1)
    batch = multi_task.Batch(x, x, torch.zeros(2, 16), x, torch.zeros(2, 16))

    def moment(sign: float) -> multi_task.Moment:
        def critic(observation: torch.Tensor, action: torch.Tensor, ids: torch.Tensor) -> torch.Tensor:
            value = action.mean(1, keepdim=True).sum(-1) * torch.tensor([1.0, sign])[:, None]  # alike for all rows
            return value.expand(2, 2, -1)

        return multi_task.Moment(1, actor, critic, critic, batch, torch.arange(2))  # type: ignore[arg-type]

    # Each task draws its own noise, so that the gradients are alike, not equal.
    assert conflict(moment(1.0), config)[0] > 0.8 and conflict(moment(1.0), config)[1] == 0
    assert conflict(moment(-1.0), config)[0] < -0.8 and conflict(moment(-1.0), config)[1] == 1


def test_measure_runs_what_was_asked_for_and_repeats() -> None:
    """Each training adds its measures, all finite, and the same seed gives the same values."""
    family = FAMILIES["sequence"]
    untrained = {"reward_spread", "gradient_spread"}
    assert measure(family, SMALL, 0, ()).keys() == untrained
    both = measure(family, SMALL, 0, (*KINDS, "in_turn"))
    assert both.keys() == untrained | {"cosine", "opposed", "gap", "worst_gap", "width_gain", "forgetting"}
    assert all(math.isfinite(value) for value in both.values())
    assert measure(family, SMALL, 0, (*KINDS, "in_turn")) == both
    hidden = measure(family, {**SMALL, "task_id": False}, 0, ("shared", "separate"))
    assert "gap" in hidden and "width_gain" not in hidden


@pytest.mark.slow
def test_diagnosis_tells_a_narrow_network_from_similar_goals() -> None:
    """On ten unlike tasks a narrow network is found too small; on similar goals nothing is found."""
    narrow = measure(FAMILIES["capacity"], {"iterations": 25, "hidden": (16, 16)}, 0, ("shared", "wide"))
    alike = measure(FAMILIES["similar"], {"iterations": 25}, 0)
    assert [f.sign.concern for f in diagnose([narrow]) if f.present] == ["capacity_limits"]
    assert not any(finding.present for finding in diagnose([alike]))
