"""The response proposer: what would the understudy have answered? It is written down and never sent."""

import re
from collections.abc import Mapping
from functools import cache
from typing import Annotated, Any

import dspy
from langgraph.runtime import Runtime
from pydantic import Field

from understudy.events import BrainDecision
from understudy.nodes.faculty import Faculty, Score, Update, answered, read, with_labels
from understudy.nodes.scoring import Component, content, echoes, honest, listed, quoted, similarity, verdict, words
from understudy.profile import Profile
from understudy.state import Context, ShadowState

GOOD_ENOUGH = 0.7
"""Similarity to a reply that worked from which on nothing more is gained: other words may be as good."""

LABEL = re.compile(r"\b[a-z]+(?:_[a-z]+)+\b")
"""A label such as ask_name; ids of customers (mia_li_3668) and addresses are no labels."""

Reply = Annotated[str, Field(max_length=4000)]


class ProposeResponse(dspy.Signature):
    """Write the reply that a good agent would send now: short, kind, true, and one step further.

    Do what the predicted next step says. Ask for one missing thing at a time. Promise nothing that the conversation
    does not hold. Be empathetic when the conflict is frustration, firm when it is bargaining, otherwise friendly.
    """

    history: list[dict[str, str]] = dspy.InputField(desc="the conversation before the message, oldest first")
    state: dict[str, Any] = dspy.InputField(desc="what the chat application knows")
    message: str = dspy.InputField(desc="the customer's new message")
    conflict: dict[str, Any] | None = dspy.InputField(desc="what the conflict monitor saw")
    intent: dict[str, Any] | None = dspy.InputField(desc="what the intent predictor saw")
    sub_goals: list[str] = dspy.InputField(desc="what the customer wants to reach")
    proposed_response: Reply = dspy.OutputField(desc="the reply, ready to send")
    tone: str = dspy.OutputField()
    confidence: Score = dspy.OutputField(desc="how sure the reply is a good one")
    reasoning: str = dspy.OutputField(desc="why this reply, in one sentence")


@cache
def signature(profile: Profile) -> type[dspy.Signature]:
    """Return the signature with the profile's tones."""
    return with_labels(ProposeResponse, dict.fromkeys(profile.tones, ""), "tone")


def inputs(turn: Mapping[str, Any]) -> dict[str, Any]:
    """Return what the module is shown of a turn; a reader that has a fault is None."""
    goals = answered(turn, "goals", "sub_goals")
    return {
        "history": turn["history"],
        "state": turn["state"] or {},
        "message": turn["message"],
        "conflict": answered(turn, "conflict", "conflict_type", "confidence"),
        "intent": answered(turn, "intent", "intent", "next_step", "confidence"),
        "sub_goals": (goals or {}).get("sub_goals") or [],
    }


def response_metric(
    gold: dspy.Example, pred: dspy.Prediction, trace: Any = None, pred_name: Any = None, pred_trace: Any = None
) -> dspy.Prediction:
    """Score a reply: satisfaction 0.4, appropriateness 0.3, confidence 0.2, coverage 0.1.

    `gold.good_replies` are replies that worked in the same state (intent and next step), the one that was sent among
    them if the conversation did not fail; `gold.missing` are words for the data that are still missing. Returns
    `dspy.Prediction(score, feedback)`.
    """
    reply = str(pred.get("proposed_response") or "")
    closeness, best = _closeness(reply, gold)
    return verdict(
        [
            ("satisfaction", 0.4, closeness, f"a reply that worked here: {quoted(best)}"),
            _appropriateness(reply, str(gold.get("message") or "")),
            honest(0.2, pred.get("confidence") if words(reply) else None, closeness),
            _coverage(reply, listed(gold.get("missing"))),
        ]
    )


def _closeness(reply: str, gold: Mapping[str, Any]) -> tuple[float | None, str | None]:
    """Return how near a reply is to the nearest one that worked, 0..1, and that one; None twice if none is known."""
    nearest = [(similarity(reply, other), other) for other in listed(gold.get("good_replies"))]
    if not nearest:
        return None, None
    score, best = max(nearest, key=lambda one: one[0])
    return min(1.0, score / GOOD_ENOUGH), best


def agreement(said: Mapping[str, Any], gold: Mapping[str, Any]) -> dict[str, float]:
    """Return the closeness of a reply, if one is known that worked."""
    closeness, _ = _closeness(str(said.get("proposed_response") or ""), gold)
    return {} if closeness is None else {"proposed_response": closeness}


def _appropriateness(reply: str, message: str) -> Component:
    """Score the form of a reply: 3 to 80 words, not the customer's own words, nothing said over and over."""
    said, echo = words(reply), echoes(reply, message)
    faults = [
        text
        for wrong, text in [
            (len(said) < 3, "it is too short to be a reply"),
            (len(said) > 80, "it is too long for a chat"),
            (bool(said) and len(set(said)) < 0.5 * len(said), "it repeats itself"),
            (echo, "it only gives the customer's words back"),
            (LABEL.search(reply), "it holds a label instead of words"),
        ]
        if wrong
    ]
    score = 0.0 if echo or len(said) < 3 else max(0.0, 1 - 0.5 * len(faults))
    return ("appropriateness", 0.3, score, "; ".join(faults) + "." if faults else "it reads like a reply.")


def _coverage(reply: str, missing: list[str]) -> Component:
    """Score whether a question asks for something that is still missing."""
    if not missing:
        return ("coverage", 0.1, None, "")
    asked = "?" in reply and any(set(content(name)) & set(content(reply)) for name in missing)
    return ("coverage", 0.1, float(asked), f"still missing: {', '.join(missing)}.")


def truth(decision: BrainDecision, evidence: Mapping[str, Any], profile: Profile) -> dict[str, Any]:
    """Return the reply that was sent, unless the conversation failed, and words for the data that are still missing."""
    sent = evidence.get("proposed_response")
    worked = sent and decision.workflow_outcome not in ("failure", "abandoned")
    intent, given = evidence.get("intent"), evidence.get("required_info")
    required = profile.intents[intent].required if intent in profile.intents and given is not None else ()
    missing = [f"{name} {profile.data[name]}" for name in required if name not in (given or ())]
    return {"good_replies": [sent] if worked else [], "missing": missing}


RESPONSE = Faculty(
    "response", signature, inputs, response_metric, ("proposed_response",), truth, agreement_of=agreement
)


async def propose_response(state: ShadowState, runtime: Runtime[Context]) -> Update:
    """Write down what the understudy would have answered."""
    return await read(RESPONSE, state, runtime)
