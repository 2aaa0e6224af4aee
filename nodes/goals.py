"""The goal decomposer: what does the customer want to reach, in which parts, and which data are there for it?"""

from collections.abc import Mapping
from functools import cache
from typing import Annotated, Any

import dspy
from langgraph.runtime import Runtime
from pydantic import Field

from understudy.nodes.faculty import Faculty, Update, read, with_labels
from understudy.nodes.scoring import Component, listed, matched, mean, overlapping, verdict, words
from understudy.profile import Profile
from understudy.state import Context, ShadowState

Phrases = Annotated[list[str], Field(max_length=40)]


class DecomposeGoals(dspy.Signature):
    """Say what the customer wants to reach in the end, into which parts it falls, and which data have been given.

    Name every goal that the customer has really spoken of, in the order they came up, once each. List a datum only when
    the customer has given its value.
    """

    history: list[dict[str, str]] = dspy.InputField(desc="the conversation before the message, oldest first")
    state: dict[str, Any] = dspy.InputField(desc="what the chat application knows")
    message: str = dspy.InputField(desc="the customer's new message")
    main_goal: str = dspy.OutputField()
    sub_goals: Phrases = dspy.OutputField()
    required_info: Phrases = dspy.OutputField()


@cache
def signature(profile: Profile) -> type[dspy.Signature]:
    """Return the signature with the profile's goals and data."""
    labelled = with_labels(DecomposeGoals, profile.goals, "main_goal", "sub_goals")
    return with_labels(labelled, profile.data, "required_info")


def inputs(turn: Mapping[str, Any]) -> dict[str, Any]:
    """Return what the module is shown of a turn."""
    return {"history": turn["history"], "state": turn["state"] or {}, "message": turn["message"]}


def goals_metric(
    gold: dspy.Example, pred: dspy.Prediction, trace: Any = None, pred_name: Any = None, pred_trace: Any = None
) -> dspy.Prediction:
    """Score a reading: alignment 0.5, required info 0.3, actionability 0.2; `dspy.Prediction(score, feedback)`."""
    return verdict(
        [
            _alignment(gold, pred),
            overlapping("required_info", 0.3, pred.get("required_info"), gold.get("required_info")),
            _actionability(pred.get("sub_goals")),
        ]
    )


def _alignment(gold: dspy.Example, pred: dspy.Prediction) -> Component:
    """Score the goals that have evidence: the main one by match, the parts by F1."""
    parts = [
        matched("main_goal", 1, pred.get("main_goal"), gold.get("main_goal")),
        overlapping("sub_goals", 1, pred.get("sub_goals"), gold.get("sub_goals")),
    ]
    known = [(name, score, text) for name, _, score, text in parts if score is not None]
    return (
        "goals",
        0.5,
        mean([score for _, score, _ in known]),
        " ".join(f"{name}: {text}" for name, _, text in known),
    )


def _actionability(sub_goals: Any) -> Component:
    """Score whether an agent can work through the parts: one to six, none twice, none longer than twelve words."""
    goals = listed(sub_goals)
    usable = {goal for goal in goals if 0 < len(words(goal)) <= 12}
    score = len(usable) / max(len(goals), 1) * min(1.0, 6 / max(len(goals), 1))
    words_ = "name one to six parts, each once and short." if score < 1 else "can be worked through."
    return ("actionability", 0.2, score, words_)


GOALS = Faculty("goals", signature, inputs, goals_metric, ("main_goal", "sub_goals", "required_info"))


async def decompose_goals(state: ShadowState, runtime: Runtime[Context]) -> Update:
    """Say what the customer wants to reach."""
    return await read(GOALS, state, runtime)
