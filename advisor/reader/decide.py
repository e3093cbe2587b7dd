"""Posterior -> accepted proposals: thresholds, assumptions from silence, and the joint risk of the facts together.

A fact is stated when its value is likely enough given that all others, "not mentioned" included, compete with it. What
separates the families (gradients, and old tasks against new ones) is never assumed. Facts that hold one by one may be
too risky together: then the least certain of them is withheld, so that the question is asked instead.
"""

from __future__ import annotations

from . import Proposal
from .cues import cue_proposals
from .model import FACTS, NOT_MENTIONED, Posterior


def best_value(p: dict[str, float]) -> tuple[str, float]:
    """The likeliest value of a fact other than "not mentioned", with its probability."""
    value = max((v for v in p if v != NOT_MENTIONED), key=lambda v: p[v])
    return value, p[value]


def stated(posterior: Posterior, fact: str) -> Proposal | None:
    """The value that the text states for a fact, if it is likely enough."""
    value, confidence = best_value(posterior.probability[fact])
    if confidence < posterior.thresholds["fact"]:
        return None
    return Proposal(fact, value, round(confidence, 4), "text", (posterior.best_clause[fact, value],))


def assumed(posterior: Posterior, accepted: dict[str, Proposal]) -> dict[str, Proposal]:
    """What goes without saying once the test tasks are stated: that no belief is asked for, and the training tasks."""
    found: dict[str, Proposal] = {}
    test = accepted.get("test_tasks")
    if test is None or test.value == "shifted":
        return found
    if "task_belief" not in accepted:
        confidence = 1.0 - posterior.probability["task_belief"]["required"]
        if confidence >= posterior.thresholds["assumed"]:
            found["task_belief"] = Proposal("task_belief", "not_required", round(confidence, 4), "assumed", ())
    if "training_tasks" not in accepted:
        confidence = 1.0 - posterior.probability["training_tasks"]["single"]
        value = "known_set" if test.value == "same_as_training" else "distribution"
        if confidence >= posterior.thresholds["assumed"]:
            found["training_tasks"] = Proposal("training_tasks", value, round(confidence, 4), "assumed", ())
    return found


def needed(accepted: dict[str, Proposal]) -> list[str]:
    """The accepted facts on which the answer rests together."""
    value = {fact: proposal.value for fact, proposal in accepted.items()}
    if value.get("test_tasks") == "shifted":
        return ["test_tasks"]
    facts = ["test_tasks", "training_tasks"]
    if value.get("training_tasks") != "single":
        facts.append("task_belief")
        if value.get("test_tasks") != "same_as_training" and value.get("task_belief") != "required":
            facts.append("adaptation_gradients")
    return [fact for fact in facts if fact in accepted]


def decide(posterior: Posterior) -> tuple[Proposal, ...]:
    """Return the accepted proposals, at most one for each fact; nothing for text that states no fact."""
    if not posterior.probability:
        return ()
    accepted = {fact: proposal for fact in FACTS if (proposal := stated(posterior, fact)) is not None}
    accepted |= assumed(posterior, accepted)
    chain = needed(accepted)
    joint = 1.0
    for fact in chain:
        joint *= accepted[fact].confidence
    if chain and joint < posterior.thresholds["joint"]:
        weakest = min(chain, key=lambda fact: accepted[fact].confidence)
        del accepted[weakest]
        if weakest == "test_tasks":  # assumptions rest on it
            accepted = {fact: p for fact, p in accepted.items() if p.source != "assumed"}
    if not accepted:
        return ()
    return tuple(accepted[fact] for fact in FACTS if fact in accepted) + cue_proposals(posterior.clauses)
