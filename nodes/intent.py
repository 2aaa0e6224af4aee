"""The intent predictor: what does the customer want, and what should the agent do next?"""

from collections.abc import Mapping
from functools import cache
from typing import Any

import dspy
from langgraph.runtime import Runtime

from understudy.nodes.faculty import Faculty, Score, Update, read, with_labels
from understudy.nodes.scoring import honest, matched, verdict
from understudy.profile import Profile
from understudy.state import Context, ShadowState


class PredictIntent(dspy.Signature):
    """Say what the customer wants from the whole conversation so far, and what the agent should do next.

    The intent is the matter that brought the customer here; it stays the same while the customer only answers
    questions, and changes when the customer asks for something else. The next step is the one act a good agent would do
    now: greet back, ask for one thing that is missing, answer, confirm, or close when all is settled.
    """

    history: list[dict[str, str]] = dspy.InputField(desc="the conversation before the message, oldest first")
    state: dict[str, Any] = dspy.InputField(desc="what the chat application knows")
    message: str = dspy.InputField(desc="the customer's new message")
    intent: str = dspy.OutputField()
    next_step: str = dspy.OutputField(desc="the agent's next act")
    confidence: Score = dspy.OutputField(desc="the probability that intent is right")


@cache
def signature(profile: Profile) -> type[dspy.Signature]:
    """Return the signature with the profile's intents and next steps."""
    intents = {label: intent.description for label, intent in profile.intents.items()}
    return with_labels(with_labels(PredictIntent, intents, "intent"), profile.next_steps, "next_step")


def inputs(turn: Mapping[str, Any]) -> dict[str, Any]:
    """Return what the module is shown of a turn."""
    return {"history": turn["history"], "state": turn["state"] or {}, "message": turn["message"]}


def intent_metric(
    gold: dspy.Example, pred: dspy.Prediction, trace: Any = None, pred_name: Any = None, pred_trace: Any = None
) -> dspy.Prediction:
    """Score a reading: intent 0.5, confidence 0.3, next step 0.2; `dspy.Prediction(score, feedback)`.

    The confidence speaks of the intent alone, as the signature says.
    """
    right, said = gold.get("intent"), pred.get("intent")
    return verdict(
        [
            matched("intent", 0.5, said, right),
            honest(0.3, pred.get("confidence") if said else None, None if right is None else float(said == right)),
            matched("next_step", 0.2, pred.get("next_step"), gold.get("next_step")),
        ]
    )


INTENT = Faculty("intent", signature, inputs, intent_metric, ("intent", "next_step"))


async def predict_intent(state: ShadowState, runtime: Runtime[Context]) -> Update:
    """Say what the customer wants and what should come next."""
    return await read(INTENT, state, runtime)
