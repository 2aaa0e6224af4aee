"""The quality evaluator: how well is the conversation going, for whom it matters?"""

from collections.abc import Mapping
from typing import Annotated, Any

import dspy
from langgraph.runtime import Runtime
from pydantic import Field

from understudy.nodes.faculty import Faculty, Score, Update, read
from understudy.nodes.scoring import alike, close, honest, number, verdict
from understudy.profile import Profile
from understudy.state import Context, ShadowState

Phrases = Annotated[list[str], Field(max_length=8)]


class EvaluateQuality(dspy.Signature):
    """Judge how well the agent has handled the conversation so far, and how satisfied the customer will be at its end.

    - user_satisfaction is high when the customer says "thank you", "thanks", "great", "perfect", "wonderful".
    - user_satisfaction is low when the customer says "ridiculous", "unacceptable", "disappointed", "waste of time".
    - user_satisfaction is low when the customer says "useless", "never again", "not happy", "angry", "fed up".
    - user_satisfaction is low when the agent says "unable to", "unavailable", "cannot", "unfortunately".
    - quality_score is low when the customer says "already told you", "still waiting", "third time".
    - completeness is high when the agent says "confirmed", "booked", "is done", "all set".

    Name issues and suggestions in a few words each, only where there is a reason for them.
    """

    history: list[dict[str, str]] = dspy.InputField(desc="the conversation with its newest message, oldest first")
    state: dict[str, Any] = dspy.InputField(desc="what the chat application knows")
    quality_score: Score = dspy.OutputField(desc="how good the agent's handling is")
    user_satisfaction: Score = dspy.OutputField(desc="how satisfied the customer will be at the end")
    completeness: Score = dspy.OutputField(desc="how much of what the customer came for is settled")
    issues: Phrases = dspy.OutputField(desc="what is bad about the handling")
    suggestions: Phrases = dspy.OutputField(desc="what would be better")
    confidence: Score = dspy.OutputField(desc="how sure user_satisfaction is")


def signature(profile: Profile) -> type[dspy.Signature]:
    """Return the signature; it is the same in every domain."""
    return EvaluateQuality


def inputs(turn: Mapping[str, Any]) -> dict[str, Any]:
    """Return what the module is shown of a turn."""
    return {
        "history": [*turn["history"], {"role": "customer", "text": turn["message"]}],
        "state": turn["state"] or {},
    }


def quality_metric(
    gold: dspy.Example, pred: dspy.Prediction, trace: Any = None, pred_name: Any = None, pred_trace: Any = None
) -> dspy.Prediction:
    """Score a reading: satisfaction 0.4, issues 0.3, confidence 0.2, suggestions 0.1.

    Returns `dspy.Prediction(score, feedback)`.
    """
    right, said = number(gold.get("user_satisfaction")), number(pred.get("user_satisfaction"))
    correct = None if right is None else 0.0 if said is None else 1 - abs(said - right)
    return verdict(
        [
            close("user_satisfaction", 0.4, said, right),
            alike("issues", 0.3, pred.get("issues"), gold.get("issues")),
            honest(0.2, None if said is None else pred.get("confidence"), correct),
            alike("suggestions", 0.1, pred.get("suggestions"), gold.get("suggestions")),
        ]
    )


QUALITY = Faculty("quality", signature, inputs, quality_metric, ("user_satisfaction",))


async def evaluate_quality(state: ShadowState, runtime: Runtime[Context]) -> Update:
    """Say how well the conversation goes."""
    return await read(QUALITY, state, runtime)
