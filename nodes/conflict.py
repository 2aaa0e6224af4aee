"""The conflict monitor: what kind of trouble does the customer's message show?"""

from collections.abc import Mapping
from functools import cache
from typing import Any

import dspy
from langgraph.runtime import Runtime

from understudy.nodes.faculty import Faculty, Score, Update, read, with_labels
from understudy.nodes.scoring import grounded, honest, matched, verdict
from understudy.profile import Profile
from understudy.state import Context, ShadowState


class MonitorConflict(dspy.Signature):
    """Say what kind of conflict the customer's new message shows, judged by its words and by what went before.

    Look at the customer's words, not at the topic. Many conversations have no conflict: otherwise choose none.

    - frustration: "ridiculous", "unacceptable", "third time", "not happy", "disappointed", "waste", "seriously"
    - frustration: "fed up", "useless", "angry", "still waiting", "already told", "nobody", "not good enough"
    - frustration: "how hard", "unbelievable", "excuse me", "sick of", "rude", "the hell", "awful", "worse"
    - confusion: "don't understand", "what do you mean", "confused", "not sure what", "makes no sense"
    - confusion: "don't get it", "you mean", "what is that", "huh", "I thought", "sorry, what"
    - bargaining: "discount", "cheaper", "too expensive", "lower price", "better price", "knock off", "best price"
    - bargaining: "throw in", "cash", "meet me", "do it for", "cheaper elsewhere"
    - off_topic: "off topic", "while we are at it", "unrelated", "the weather", "favourite", "football", "guess what"
    - cancellation: "cancel", "go elsewhere", "somewhere else", "forget it", "never mind", "call it off", "leave it"

    Quote in the reasoning the few words that decided.
    """

    history: list[dict[str, str]] = dspy.InputField(desc="the conversation before the message, oldest first")
    message: str = dspy.InputField(desc="the customer's new message")
    conflict_type: str = dspy.OutputField()
    confidence: Score = dspy.OutputField(desc="the probability that conflict_type is right")
    reasoning: str = dspy.OutputField(desc="the words that decided, in one sentence")


@cache
def signature(profile: Profile) -> type[dspy.Signature]:
    """Return the signature with the profile's conflict types."""
    return with_labels(MonitorConflict, profile.conflict_types, "conflict_type")


def inputs(turn: Mapping[str, Any]) -> dict[str, Any]:
    """Return what the module is shown of a turn."""
    return {"history": turn["history"], "message": turn["message"]}


def conflict_metric(
    gold: dspy.Example, pred: dspy.Prediction, trace: Any = None, pred_name: Any = None, pred_trace: Any = None
) -> dspy.Prediction:
    """Score a reading: correctness 0.5, confidence 0.3, reasoning 0.2; `dspy.Prediction(score, feedback)`."""
    right, said = gold.get("conflict_type"), pred.get("conflict_type")
    return verdict(
        [
            matched("conflict_type", 0.5, said, right),
            honest(0.3, pred.get("confidence") if said else None, None if right is None else float(said == right)),
            grounded(0.2, pred.get("reasoning"), gold, [str(said), str(right)]),
        ]
    )


CONFLICT = Faculty("conflict", signature, inputs, conflict_metric, ("conflict_type",))


async def read_conflict(state: ShadowState, runtime: Runtime[Context]) -> Update:
    """Say what kind of trouble the turn shows."""
    return await read(CONFLICT, state, runtime)
