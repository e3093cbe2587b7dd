import subprocess
import sys

import pytest

from advisor.engine import recommend
from advisor.errors import AdvisorError, NoProject, RulesError
from advisor.facts import Known
from advisor.fit.families import FAMILIES
from advisor.fit.plan import make
from advisor.fit.train import TRAININGS, family_of
from advisor.rulebook import load as load_rules
from tests.fit.small import STAND_INS

BOOK = load_rules()
RESEMBLES = {  # written from the worked scenarios, not from the rules
    "w1_catalogue": "catalogue",
    "w2_demonstrated_shapes": "shapes",
    "w3_support_categories": "support",
    "w4_prompt_examples": "in_context",
    "w5_ten_cities": "cities",
    "w6_new_object_trials": "objects",
    "w7_market_regimes": "regimes",
    "w8_diagnosis": "diagnosis",
    "w9_new_mazes": "maze",
}


def advice(**facts):
    return recommend({name: Known(str(value), 1.0, "file") for name, value in facts.items()}, BOOK)


def worked(scenario, **more):
    return advice(**{**BOOK.entries["scenarios"][scenario]["facts"], **more})


@pytest.mark.parametrize("scenario", sorted(BOOK.entries["scenarios"]))
def test_worked_scenarios_have_a_plan(scenario):
    """Each worked scenario gets a stand-in of its own verdict, and the report says that it is not the user's environment."""
    plan = make(worked(scenario))
    assert plan.verdict == BOOK.entries["scenarios"][scenario]["verdict"]
    assert plan.stand_in.startswith("A stand-in, not your environment") and "left out:" in plan.stand_in


@pytest.mark.parametrize("scenario", RESEMBLES)
def test_worked_scenarios_are_resembled(scenario):
    """Each worked scenario gets a family of its own that resembles it; an arm's controls are continuous."""
    more = {"action_kind": "continuous"} if scenario == "w2_demonstrated_shapes" else {}
    assert make(worked(scenario, **more)).row.id == RESEMBLES[scenario]


def test_every_candidate_has_a_training():
    """Every candidate of every stand-in names a training that exists, one of them is recommended, and both references stand beside it."""
    from advisor.fit.controls import CONTROLS
    from advisor.fit.in_context import TRAININGS as IN_CONTEXT

    for row in STAND_INS:
        assert {c.training for c in row.candidates} <= {*TRAININGS, *CONTROLS, *IN_CONTEXT}
        assert [c.role for c in row.candidates].count("recommended") == 1
        assert [c.role for c in row.candidates].count("reference") >= 2


def test_gradient_controls_need_permission():
    """Where no gradient is allowed at test time, nobody gets one: such controls are refused with the reason, and MAML is not fitted."""
    frozen = advice(training_tasks="distribution", test_tasks="new_same_distribution", adaptation_gradients="not_allowed",
                    task_belief="not_required")  # fmt: skip
    plan = make(frozen)
    assert set(plan.refused) == {"MAML", "from scratch", "multi-task, then fine-tuned"}
    assert all("rules out" in why for why in plan.refused.values())
    assert not any(c.gradients for c in plan.candidates)
    with pytest.raises(NoProject, match="MAML can't be fitted"):
        make(frozen, family="maml")


def test_the_other_families_are_controls():
    """Where the limits allow it, all four families are compared, beside the plain controls."""
    plan = make(worked("w6_new_object_trials"))
    trainings = {c.training for c in plan.candidates if c.role != "reference"}
    assert trainings == {"maml", "rl2", "pearl", "maml_scratch", "maml_pretrained", "dictionary"} and not plan.refused


def test_a_belief_that_is_asked_for_must_be_there():
    """Where a belief must be shown, algorithms that keep none are refused; plain controls stay, to say what the belief is worth."""
    plan = make(worked("w8_diagnosis", adaptation_gradients="allowed"))
    assert {"RL²", "MAML"} <= set(plan.refused) and "belief" in plan.refused["RL²"]
    assert {"unadapted", "policy without memory"} <= {c.name for c in plan.candidates}


def test_a_hidden_task_is_told_to_nobody():
    """Where the policy can't observe its task, the one that is told is refused, and the one that isn't is put forward."""
    plan = make(worked("w5_ten_cities", task_identity="hidden"))
    recommended = next(c for c in plan.candidates if c.role == "recommended")
    assert recommended.training == "multi_task_hidden"
    assert {"multi-task, task known", "separate networks"} <= set(plan.refused)


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
    """The scenario's own counts size the stand-in: 50 tasks stay 50, more are cut and the report says so, 10 episodes are one step's."""
    assert make(worked("w1_catalogue")).row.family_settings == {"tasks": 50}
    assert make(worked("w3_support_categories")).row.family_settings == {"tasks": 200}
    assert "all but 50 of its 900 tasks" in make(worked("w1_catalogue", task_count=900)).stand_in
    assert make(worked("w6_new_object_trials")).row.test == {"steps": 1, "episodes": 10}


def test_own_rules_choose_the_stand_in(tmp_path):
    """A stand-in of the user's own rules is taken with its parameters; one of a family that there is none of is named with the nearest."""
    entry = (
        '[[stand_in]]\nid = "mine"\nfamily = "{}"\nwhen = {{ verdict = ["rl2"] }}\npriority = 1\nsays = "three arms"\n'
        'parameters = {{ arms = 3, pulls = 4 }}\nadapt = {{ default = 3, most = 3 }}\nbecause = "b"\nleft_out = ["l"]\nsource = ["s"]\n'
        'example = "e"\nnear_miss = "n"\n'
    )
    (tmp_path / "stand_ins.toml").write_text(entry.format("bandit"))
    row = make(worked("w7_market_regimes"), book=load_rules(tmp_path)).row
    assert (row.id, row.family, row.family_settings) == ("mine", "bandit:Bandit", {"arms": 3, "pulls": 4})
    (tmp_path / "stand_ins.toml").write_text(entry.format("bandits"))
    with pytest.raises(RulesError, match="no family is called `bandits`") as unknown:
        make(worked("w7_market_regimes"), book=load_rules(tmp_path))
    assert "did you mean `bandit`" in unknown.value.hint


def test_import_is_light():
    """Importing the stage loads no torch, so the commands that don't train start quickly."""
    code = "import sys, advisor.fit; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize(("episodes", "test"), [("39", 1), ("40", 2), ("60", 3), ("6000", 3)])
def test_more_episodes_give_more_gradient_steps(episodes, test):
    """The scored gradient step follows the scenario's budget, also where more steps favour a control, and the report names it."""
    plan = make(worked("w9_new_mazes", adaptation_episodes=episodes))
    assert plan.row.test["steps"] == test and f"scored after {test} gradient step" in plan.stand_in


def test_fine_tuning_stands_beside_in_context_learning():
    """Where the scenario rules gradients out, few-shot fine-tuning is shown as a reference and judges nothing; else it is a control."""
    for gradients, role in (("not_allowed", "reference"), ("allowed", "control")):
        facts = {**BOOK.entries["scenarios"]["w4_prompt_examples"]["facts"], "adaptation_gradients": gradients}
        plan = make(advice(**facts), family="rl2")
        assert [c.role for c in plan.candidates if c.training == "in_context_tuned"] == [role] and not plan.refused


def test_own_environment_takes_no_prompt():
    """Where the user's own environment takes the stand-in's place, the stand-in is one that an environment can replace."""
    assert make(worked("w4_prompt_examples"), own=True).row.id != "in_context"


@pytest.mark.parametrize("row", [r for r in STAND_INS if r.id != "in_context"], ids=lambda row: row.id)
def test_families_are_as_described(row):
    """What the plan knows of a family without torch, its horizon and kind of action, is what the family says itself."""
    from advisor.fit import jobs
    from advisor.fit.plan import planned

    family = family_of(jobs(planned(row, {}, True, "smoke", 2))[0])
    described = next(f for f in FAMILIES.values() if f.path == row.family)
    assert (family.horizon, family.discrete) == (described.horizon, described.discrete)
    assert hasattr(family, "catalogue") == described.known
