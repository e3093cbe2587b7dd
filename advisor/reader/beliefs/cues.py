"""Which concepts together show a concern or a belief, and within how many sentences."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Cue:
    """A finding: all of `needs` un-denied and all of `beside` (denied or not) within `reach` neighbouring sentences, none of `unless`.

    Cues stand in order of strength: of two values for one fact the first is kept.
    """

    fact: str
    value: str
    needs: tuple[str, ...]
    beside: tuple[str, ...] = ()
    unless: tuple[str, ...] = ()
    reach: int = 1


CUES: tuple[Cue, ...] = (
    # forgetting comes before interference: old tasks that suffer from new ones are forgotten
    Cue("catastrophic_interference", "present", ("forgetting_named",)),
    Cue("catastrophic_interference", "present", ("forgets", "old_ones"), ("new_ones",), reach=2),
    Cue("catastrophic_interference", "present", ("forgets_plainly",), ("new_ones",), reach=2),
    Cue("task_imbalance", "present", ("imbalance",)),
    Cue("task_imbalance", "present", ("drowns", "share_of_training")),
    Cue("task_imbalance", "present", ("many_times", "count_noun")),
    Cue("task_imbalance", "present", ("far_apart", "count_noun")),
    Cue("task_imbalance", "present", ("few_have", "count_noun", "drowns"), reach=2),
    Cue("gradient_interference", "present", ("gradient_trouble",)),
    Cue("gradient_interference", "present", ("gradients", "opposed")),
    Cue("gradient_interference", "present", ("tasks_themselves", "opposed")),
    Cue("gradient_interference", "present", ("each_time", "gets_better", "gets_worse"), unless=("old_ones",)),
    Cue("capacity_limits", "present", ("network", "too_small")),
    Cue("capacity_limits", "present", ("network", "wants_larger")),
    Cue("capacity_limits", "present", ("small_size", "too_small"), reach=2),
    Cue("capacity_limits", "present", ("small_size", "wants_larger"), reach=2),
    Cue("capacity_limits", "present", ("small_size", "all_mediocre"), reach=2),
    Cue("capacity_limits", "present", ("more_tasks", "all_mediocre")),
    Cue("planned_method", "maml_by_habit", ("maml", "by_habit"), unless=("rejects",), reach=2),
    Cue("planned_method", "maml", ("maml", "plan"), unless=("rejects",)),
    Cue("named_framing", "both_as_one", ("meta_named", "multi_task_named", "same_thing")),
    Cue("named_framing", "both_as_one", ("maml", "multi_task_named", "same_thing")),
    Cue("named_framing", "meta", ("meta_named", "calls_it"), unless=("rejects",)),
    Cue("named_framing", "multi_task", ("multi_task_named", "calls_it"), unless=("rejects",)),
    Cue(
        "in_context_trust",
        "replaces_tuning_anywhere",
        ("prompt", "replaces"),
        ("tuning", "whatever"),
        ("doubts_prompt",),
        2,
    ),
    Cue("in_context_trust", "replaces_tuning_here", ("prompt", "replaces"), ("tuning",), ("doubts_prompt",), 2),
    Cue("transfer_expectation", "taken_for_granted", ("helps_each_other", "certain"), unless=("measured",)),
    Cue("transfer_expectation", "taken_for_granted", ("helps_each_other",), ("unchecked",), reach=2),
    Cue("shift_attitude", "waved_away", ("trusts_adaptation",), unless=("aware", "question")),
    Cue("shift_attitude", "waved_away", ("will_cope", "vouches"), unless=("aware", "question")),
    Cue("shift_attitude", "waved_away", ("belittles", "vouches"), unless=("aware", "question")),
    Cue("shift_attitude", "waved_away", ("same_old",), unless=("aware", "question")),
)
