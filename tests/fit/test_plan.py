import subprocess
import sys

import pytest

from advisor.engine import recommend
from advisor.errors import AdvisorError, NoProject
from advisor.facts import Known
from advisor.fit.plan import STAND_INS, make
from advisor.fit.train import TRAININGS
from advisor.rulebook import load as load_rules

BOOK = load_rules()


def advice(**facts):
    return recommend({name: Known(str(value), 1.0, "file") for name, value in facts.items()}, BOOK)


def worked(scenario):
    return advice(**BOOK.entries["scenarios"][scenario]["facts"])


@pytest.mark.parametrize("scenario", sorted(BOOK.entries["scenarios"]))
def test_worked_scenarios_have_a_plan(scenario):
    """Each worked scenario gets a stand-in of its own verdict, and the report says that it is not the user's environment."""
    plan = make(worked(scenario))
    assert plan.verdict == BOOK.entries["scenarios"][scenario]["verdict"]
    assert plan.stand_in.startswith("A stand-in, not your environment") and "left out:" in plan.stand_in


def test_every_candidate_has_a_training():
    """Every candidate of every stand-in names a training that exists, one of them is recommended, and both references stand beside it."""
    from advisor.fit.controls import CONTROLS

    for row in STAND_INS:
        assert {c.training for c in row.candidates} <= {*TRAININGS, *CONTROLS}
        assert [c.role for c in row.candidates].count("recommended") == 1
        assert [c.role for c in row.candidates].count("reference") >= 2


def test_gradient_controls_need_permission():
    """Where no gradient is allowed at test time, nobody gets one: such controls are refused with the reason, and MAML is not fitted."""
    frozen = advice(training_tasks="distribution", test_tasks="new_same_distribution", adaptation_gradients="not_allowed",
                    task_belief="not_required")  # fmt: skip
    plan = make(frozen)
    assert set(plan.refused) == {"from scratch", "multi-task, then fine-tuned"}
    assert all("rules out" in why for why in plan.refused.values())
    assert not any(c.gradients for c in plan.candidates)
    with pytest.raises(NoProject, match="MAML can't be fitted"):
        make(frozen, family="maml")


def test_nothing_to_fit():
    """Undecided and out of scope are answered with a next step, a wrong name with the nearest, one seed with the reason."""
    with pytest.raises(NoProject, match="still open") as still_open:
        make(advice(test_tasks="new_same_distribution"))
    assert "advisor ask" in still_open.value.hint
    with pytest.raises(NoProject, match="across tasks"):
        make(advice(training_tasks="single", test_tasks="same_as_training"))
    with pytest.raises(AdvisorError) as typo:
        make(worked("w1_catalogue"), budget="smok")
    assert "smoke" in typo.value.hint
    with pytest.raises(AdvisorError, match="2 seeds"):
        make(worked("w1_catalogue"), seeds=1)


def test_facts_set_the_sizes():
    """The scenario's own counts size the stand-in: 5 tasks stay 5, 200 become 10 and the report says so, 10 episodes are one step's."""
    few = make(
        advice(training_tasks="known_set", test_tasks="same_as_training", task_belief="not_required", task_count=5)
    )
    assert few.row.family_settings == {"tasks": 5}
    assert "all but 10 of its 200 tasks" in make(worked("w3_support_categories")).stand_in
    assert make(worked("w6_new_object_trials")).row.test == {"steps": 1, "episodes": 10}


def test_import_is_light():
    """Importing the stage loads no torch, so the commands that don't train start quickly."""
    code = "import sys, advisor.fit; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize(("episodes", "test"), [("39", 1), ("40", 2), ("60", 3), ("6000", 3)])
def test_more_episodes_give_more_gradient_steps(episodes, test):
    """The scored gradient step follows the scenario's budget, also where more steps favour a control, and the report names it."""
    facts = {
        n: Known(str(v), 1.0, "file") for n, v in load_rules().entries["scenarios"]["w9_new_mazes"]["facts"].items()
    }
    plan = make(recommend({**facts, "adaptation_episodes": Known(episodes, 1.0, "file")}, load_rules()))
    assert plan.row.test["steps"] == test and f"scored after {test} gradient step" in plan.stand_in
