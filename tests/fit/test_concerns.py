"""The diagnosis of the concerns: measures against cases with a known answer, findings against their thresholds."""

import importlib
import io
import json
import math
import pickle
from dataclasses import replace

import pytest
import torch
from rich.console import Console

from advisor import fit
from advisor.engine import recommend
from advisor.executors import InProcess
from advisor.facts import Known
from advisor.fit import environment, execute, jobs, page, render, train
from advisor.fit.concerns import (
    KINDS,
    SIGNS,
    _scores,
    asked,
    conflict,
    diagnose,
    measure,
    measured,
    report,
    spread,
    spreads,
)
from advisor.fit.plan import make
from advisor.rulebook import load
from reference_impls import multi_task
from reference_impls.tasks.varied import FAMILIES, Varied
from tests.fit.small import plan

BOOK = load()
MITIGATIONS = BOOK.entries["mitigations"]
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


def planned(scenario="w5_ten_cities", **more):
    facts = {**BOOK.entries["scenarios"][scenario]["facts"], **more}
    return make(recommend({name: Known(str(value), 1.0, "file") for name, value in facts.items()}, BOOK))


def test_a_multi_task_plan_asks_for_a_diagnosis() -> None:
    """Each seed gets one training more, of the recommended settings; tasks in turn only where the scenario speaks of forgetting."""
    few, many = planned(catastrophic_interference="present"), planned("w1_catalogue")
    for wanted, kinds, tasks in ((few, [*KINDS, "in_turn"], 10), (many, [*KINDS], 25)):
        found = [j for j in jobs(wanted) if j.training == "concerns"]
        assert [j.seed for j in found] == list(range(wanted.seeds))
        assert all(j.concerns == {"kinds": kinds, "tasks": tasks, "told": True} for j in found)
        assert all(j.settings == wanted.settings["multi_task"] for j in found)
    assert "25 of the 50 tasks" in many.concerns.note and "forgetting not measured" in many.concerns.note
    hidden = planned(task_identity="hidden")
    assert [j.concerns["told"] for j in jobs(hidden) if j.training == "concerns"] == [False] * hidden.seeds
    other = planned("w7_market_regimes")
    assert other.concerns is None and not [j for j in jobs(other) if j.training == "concerns"]


def test_own_environments_say_that_nothing_was_diagnosed() -> None:
    """A multi-task fit on the user's own environment runs no diagnosis, and its report says so."""
    own = environment.substitute(planned(), "tests.fit.small:reach")
    assert own.concerns is None and not [j for j in jobs(own) if j.training == "concerns"]
    assert "the diagnosis of the concerns" in own.stand_in and own.stand_in.endswith(f"{own.row.left_out[-1]}.")


def test_advice_leaves_out_what_is_done() -> None:
    """What the trainings do already is not recommended again: one scale of rewards only from the raw rewards, the id only where hidden."""

    def ids(told, **facts):
        found = asked(facts, MITIGATIONS, "smoke", 10, told).advice
        return {concern: [step.id for step in steps] for concern, steps in found.items()}

    told, hidden = ids(True), ids(False)
    assert told["task_imbalance"] == hidden["task_imbalance"] == ["one_scale"]
    assert told["gradient_interference"] == ["widen"] and hidden["gradient_interference"] == [
        "show_task_identity",
        "widen",
    ]
    assert told["capacity_limits"] == ["larger_network"]
    assert told["catastrophic_interference"] == list(SIGNS[-1].advice)
    assert ids(False, task_identity="observed")["capacity_limits"] == ["larger_network"]


def test_tasks_are_spread_over_the_catalogue() -> None:
    """A few of many tasks come from all over the list, and few tasks are all taken."""
    tasks = torch.arange(50)[:, None]
    assert spread(tasks, 5)[:, 0].tolist() == [0, 10, 20, 30, 40] and spread(tasks, 50) is tasks


def test_the_report_of_a_fit_holds_the_concerns(tmp_path, monkeypatch) -> None:
    """Rewards of 100 times the size in one task are found by a fit, which names the mitigation on the terminal, in JSON and on the page."""
    importlib.import_module(
        "advisor.fit.in_context"
    )  # it takes `family_of` from train when it is first loaded: not the one below
    monkeypatch.setattr(train, "family_of", lambda job, continuous=False: Varied(tasks=3, spread=100.0))
    monkeypatch.setattr(fit, "_movers", lambda plan: {})
    wanted = asked({"catastrophic_interference": "present"}, MITIGATIONS, "smoke", 3)
    rigged = replace(plan(seeds=2), concerns=wanted)
    rigged = replace(rigged, settings=dict.fromkeys(rigged.settings, SMALL))
    whole = execute(rigged, "s", "0", "again", InProcess(), folder=tmp_path / "r")
    found = {c.id: c for c in whole.concerns.concerns}
    assert found.keys() == set(MITIGATIONS)
    loud = found["task_imbalance"]
    assert loud.present and loud.value > 50 and len(loud.values) == 2 and [s.id for s in loud.advice] == ["one_scale"]
    assert {"cosine", "opposed", "gradient_spread", "worst_gap"} <= whole.concerns.measures.keys()
    label = next(s["label"] for s in MITIGATIONS["task_imbalance"]["before"] if s["id"] == "one_scale")
    out = io.StringIO()
    render(whole, Console(file=out, width=2000))
    assert f"task_imbalance: found; try first: {label} (" in out.getvalue() and "threshold 5)" in out.getvalue()
    html = page(whole)
    assert "Concerns of multi-task training" in html and "Against task_imbalance try first: normalise each task" in html
    told = json.loads(whole.as_json())["concerns"]
    assert [c["id"] for c in told["concerns"] if c["measure"] == "reward_spread" and c["present"]] == ["task_imbalance"]

    monkeypatch.setattr(train, "run", lambda job: pytest.fail("trained again"))
    again = execute(rigged, "s", "0", "again", InProcess(), folder=tmp_path / "r", resume=True)
    assert again.as_json() == whole.as_json()


def test_the_outcome_travels() -> None:
    """What a worker sends back holds every measure, whatever process it comes from."""
    job = next(
        j for j in jobs(replace(plan(), concerns=asked({}, MITIGATIONS, "smoke", 3))) if j.training == "concerns"
    )
    outcome = pickle.loads(pickle.dumps(train.run(pickle.loads(pickle.dumps(job)))))
    assert {"reward_spread", "gap", "width_gain"} <= outcome.concerns.keys() and not outcome.returns


def test_forgetting_is_found_and_cured_simplest_first() -> None:
    """Distant goals one after another are forgotten; training them side by side is recommended before replay and EWC."""
    wanted = asked({"catastrophic_interference": "present"}, MITIGATIONS, "smoke", 3)
    found = report(
        [measured(Varied(tasks=3), {"iterations": 10, "episodes": 4}, 0, ["in_turn"], wanted.tasks)],
        wanted,
    )
    lost = next(c for c in found.concerns if c.id == "catastrophic_interference")
    assert lost.present and [s.id for s in lost.advice] == [
        "train_side_by_side",
        "experience_replay",
        "continual_learning",
    ]


@pytest.mark.slow
def test_diagnosis_tells_a_narrow_network_from_similar_goals() -> None:
    """On ten unlike tasks a narrow network is found too small; on similar goals nothing is found."""
    narrow = measure(FAMILIES["capacity"], {"iterations": 25, "hidden": (16, 16)}, 0, ("shared", "wide"))
    alike = measure(FAMILIES["similar"], {"iterations": 25}, 0)
    assert [f.sign.concern for f in diagnose([narrow]) if f.present] == ["capacity_limits"]
    assert not any(finding.present for finding in diagnose([alike]))
