"""The shipped rules: complete, and equal to the domain's tables."""

import shutil
from pathlib import Path

import pytest

from advisor import rulebook
from advisor.engine import possible_verdicts, recommend
from advisor.errors import RulesError
from advisor.facts import Known
from advisor.resources import rules_folder

BOOK = rulebook.load()

WRITTEN_LIST = {
    "facts": {
        "training_tasks", "test_tasks", "adaptation_gradients", "task_belief", "task_imbalance", "gradient_interference",
        "capacity_limits", "catastrophic_interference", "task_identity", "model_kind", "action_kind", "observation_kind",
        "task_count", "adaptation_episodes", "reward",
        "in_context_trust", "named_framing", "planned_method", "shift_attitude", "transfer_expectation",
    },
    "framings": {"multi_task", "meta"},
    "families": {"maml", "rl2", "pearl"},
    "verdicts": {"multi_task", "maml", "rl2", "pearl", "none_reliable", "out_of_scope", "undecided"},
    "settings": {
        "known_set", "gradient_budget", "no_gradient", "identity_uncertain", "shifted", "single_same", "single_new",
    },
    "mitigations": {"task_imbalance", "gradient_interference", "capacity_limits", "catastrophic_interference"},
    "pitfalls": {
        "conflating", "assuming_positive_transfer", "underestimating_shift", "maml_by_default", "icl_replaces_finetuning",
    },
    "parallels": {
        "task_distribution_pretraining", "adaptation_budget", "recurrent_in_context", "gradient_fine_tuning", "prompt_shift",
    },
    "scenarios": {
        "w1_catalogue", "w2_demonstrated_shapes", "w3_support_categories", "w4_prompt_examples", "w5_ten_cities",
        "w6_new_object_trials", "w7_market_regimes", "w8_diagnosis", "w9_new_mazes",
    },
    "stand_ins": {
        "bandit", "catalogue", "cities", "diagnosis", "in_context", "maze", "objects", "regimes", "semicircle", "semicircle_shifted",
        "shapes", "support",
    },
    "golden": {
        "g01_listed_tasks_stay", "g02_generated_tasks_stay", "g03_new_tasks_with_gradients", "g04_listed_then_new_with_gradients",
        "g05_new_tasks_frozen", "g06_listed_then_new_frozen", "g07_belief_new_tasks", "g08_belief_before_gradients",
        "g09_belief_listed_then_new", "g10_belief_before_known_set", "g11_belief_generated_tasks_stay", "g12_shift",
        "g13_shift_before_belief", "g14_shift_before_gradients", "g15_shift_before_single", "g16_one_task", "g17_one_task_with_belief",
        "g18_one_task_then_new", "g19_nothing_said", "g20_new_tasks_and_no_more", "g21_gradients_and_no_more",
        "g22_listed_tasks_and_no_more",
    },
}  # fmt: skip
MITIGATIONS = {
    "task_imbalance": ["per_task_weighting", "gradient_normalization"],
    "gradient_interference": ["gradient_surgery", "task_heads"],
    "capacity_limits": ["mixture_of_experts", "larger_network"],
    "catastrophic_interference": ["continual_learning", "experience_replay"],
}
# Written from the domain's worked scenarios, not from the rules.
WORKED = {
    "w1_catalogue": ("multi_task", "multi_task"),
    "w2_demonstrated_shapes": ("meta", "rl2"),
    "w3_support_categories": ("multi_task", "multi_task"),
    "w4_prompt_examples": ("meta", "rl2"),
    "w5_ten_cities": ("multi_task", "multi_task"),
    "w6_new_object_trials": ("meta", "maml"),
    "w7_market_regimes": ("meta", "rl2"),
    "w8_diagnosis": ("meta", "pearl"),
    "w9_new_mazes": ("meta", "maml"),
}


@pytest.mark.parametrize("kind", sorted(WRITTEN_LIST))
def test_ids_equal_the_written_list(kind: str) -> None:
    """No entry of the domain's tables is missing and none is there that nobody counted."""
    assert set(BOOK.entries[kind]) == WRITTEN_LIST[kind]


def test_evidence_holds_enough_findings_both_ways() -> None:
    """The literature is quoted with at least twenty findings, some of them against us."""
    directions = [e["direction"] for e in BOOK.entries["evidence"].values()]
    assert len(directions) >= 20 and {"for", "against"} == set(directions)


def test_mitigations_are_the_eight_of_the_table() -> None:
    """Each concern has exactly its two mitigations."""
    found = {i: [o["id"] for o in e["options"]] for i, e in BOOK.entries["mitigations"].items()}
    assert found == MITIGATIONS


def test_framings_have_every_property() -> None:
    """Both framings state all five properties, each with its own words."""
    for name in ("training_tasks", "test_tasks", "goal", "adaptation", "failure_mode"):
        assert BOOK.entries["framings"]["meta"][name] != BOOK.entries["framings"]["multi_task"][name]


@pytest.mark.parametrize("scenario", sorted(WORKED))
def test_worked_scenarios_get_their_verdict(scenario: str) -> None:
    """The facts of each worked scenario lead to the framing and verdict that the domain gives it."""
    entry = BOOK.entries["scenarios"][scenario]
    facts = {n: Known(str(v), 1.0, "file") for n, v in entry["facts"].items()}
    framing, verdict = WORKED[scenario]
    answer = recommend(facts, BOOK)
    assert (answer.framing, answer.verdict) == (framing, verdict) == (entry["framing"], entry["verdict"])


@pytest.mark.parametrize("setting", BOOK.settings, ids=lambda s: s.id)
def test_example_fires_and_near_miss_does_not(setting: rulebook.Setting) -> None:
    """A setting's example gets its verdict, and changing one fact as the near miss says leads elsewhere."""
    entry = BOOK.entries["settings"][setting.id]
    point = entry["example"]["facts"]
    assert possible_verdicts(point, BOOK) == (setting.recommend,)
    changed = {**point, **entry["near_miss"]["change"]}
    assert not rulebook.holds(setting.when, changed)
    assert possible_verdicts(changed, BOOK) == (entry["near_miss"]["verdict"],)


def test_golden_scenarios_cover_every_point() -> None:
    """Each full point lies within the facts of a golden scenario with a definite verdict, so that no outcome can change unseen."""
    definite = [e for e in BOOK.entries["golden"].values() if e["verdict"] != "undecided"]
    assert all(any(e["facts"].items() <= p.items() for e in definite) for p in BOOK.points())


def test_every_entry_has_source_example_and_near_miss() -> None:
    """No advice without a source, a case in which it fires and one in which it does not; a scenario is its own example."""
    for kind, entries in BOOK.entries.items():
        for i, entry in entries.items():
            assert entry["source"], (kind, i)
            assert entry.get("example") or entry.get("text"), (kind, i)
            assert entry.get("near_miss") or kind == "golden", (kind, i)


def edited(tmp_path: Path, file: str, old: str, new: str) -> Path:
    folder = tmp_path / "rules"
    shutil.copytree(rules_folder(), folder)
    path = folder / f"{file}.toml"
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))
    return folder


@pytest.mark.parametrize(
    ("file", "old", "new", "words"),
    [
        ("settings", 'recommend = "rl2"', 'recommend = "rl3"', ["settings.toml", "no_gradient", "did you mean `rl2`"]),
        ("settings", 'task_belief = ["required"]', 'task_belief = ["requird"]', ["identity_uncertain", "did you mean"]),
        ("settings", 'when = { test_tasks = ["shifted"] }', 'when = { test_task = ["shifted"] }', ["shifted", "test_tasks"]),
        ("settings", 'test_tasks = ["new_same_distribution"] }', 'test_tasks = ["same_as_training"] }', ["settings.toml", "gap", "3 fault"]),
        ("settings", 'test_tasks = ["same_as_training"] }', 'test_tasks = ["shifted"] }', ["settings.toml", "gap"]),
        ("settings", 'training_tasks = ["single"], test_tasks = ["same', 'training_tasks = ["known_set"], test_tasks = ["same',
         ["settings.toml"]),
        ("pitfalls", 'truth = "They are', 'trueth = "They are', ["pitfalls.toml", "conflating", "did you mean `truth`"]),
        ("families", 'source = ["Rakelly et al. 2019"]', "source = []", ["families.toml", "pearl", "source"]),
        ("parallels", 'id = "prompt_shift"', 'id = "gradient_fine_tuning"', ["parallels.toml", "stands twice"]),
        ("facts", "[[fact]]", "[[fact", ["facts.toml", "TOML"]),
        ("scenarios", 'verdict = "pearl"', 'verdict = "perl"', ["scenarios.toml", "w8_diagnosis", "pearl"]),
    ],
)  # fmt: skip
def test_a_fault_names_file_and_entry(tmp_path: Path, file: str, old: str, new: str, words: list[str]) -> None:
    """Loading fails on any fault, and the message says where it is."""
    with pytest.raises(RulesError) as caught:
        rulebook.load(edited(tmp_path, file, old, new))
    assert all(word in str(caught.value) for word in words), str(caught.value)
