"""Does a dream show what it was planned to show? The teacher reads it, and its labels must agree.

The embedded teacher reads nothing but its own prompts. There the student judges: the intent by labelled conversations
that it is shown as examples; of conflicts only whether one that was planned shows at all, as its word on others is not
worth a dream.
"""

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any

import dspy

from understudy.lm.adapter import AnswerAdapter, Predict
from understudy.lm.errors import ModelError
from understudy.lm.roles import get_lm, talkers
from understudy.nodes.brain import Brain
from understudy.nodes.conflict import CONFLICT
from understudy.nodes.faculty import Score, seen_by_nobody, with_labels
from understudy.nodes.memory import Memory

EXAMPLES, SHOWN = 20, 12
"""Real conversations of each intent that the embedded student is shown, and messages of each: with these it names the
intent of 90 % of the STAR conversations that it has not seen, with 6 and 8 of 86 %."""


class JudgeDream(dspy.Signature):
    """Say what this conversation shows: the one matter that the customer wants, and the conflicts in it.

    A conflict is one that a customer's message shows by its words and its tone; most conversations show none.
    """

    history: list[dict[str, str]] = dspy.InputField(desc="the whole conversation, oldest first")
    intent: str = dspy.OutputField()
    intent_confidence: Score = dspy.OutputField(desc="the probability that intent is right")
    conflict_types: list[str] = dspy.OutputField()


class JudgeIntent(dspy.Signature):
    """Say what the customer of this conversation wants: the one matter that all of it is about."""

    history: list[dict[str, str]] = dspy.InputField(desc="the whole conversation, oldest first")
    intent: str = dspy.OutputField()
    intent_confidence: Score = dspy.OutputField(desc="the probability that intent is right")


class Judge:
    """Reads dreams of one profile."""

    def __init__(self, brain: Brain, memory: Memory) -> None:
        self._memory = memory
        self._is_teacher = "teacher" in talkers(brain.settings)
        self._lm = get_lm("teacher" if self._is_teacher else "student", brain.settings)

    async def disagrees(self, plan: Mapping[str, Any], dream: Mapping[str, Any]) -> str | None:
        """Return why a dream is not what it was planned to be, or None."""
        messages = dream["messages"]
        with seen_by_nobody(self._lm, AnswerAdapter()):
            try:
                said = await self._program.acall(history=_told(messages))
                other = said.intent != plan["intent"] and "other_intent"
                return other or await self._other_conflict(messages, said)
            except ModelError as error:
                if error.down:
                    raise
                return f"fault: judge, {type(error).__name__}"

    async def _other_conflict(self, messages: Sequence[Mapping[str, Any]], said: Any) -> str | None:
        """Say whether a conflict that was planned is missing, or one is there where none was planned."""
        planned = [
            (place, message.get("labels", {}).get("conflict_type"))
            for place, message in enumerate(messages)
            if message["role"] == "customer"
        ]
        if self._is_teacher:
            wanted, seen = {name for _, name in planned} - {"none", None}, set(said.conflict_types)
            is_known = all(name is not None for _, name in planned)
            return "other_conflict" if wanted - seen or is_known and seen - wanted else None
        for place, name in planned:
            if name not in ("none", None):
                read = await self._reader.acall(history=_told(messages[:place]), message=messages[place]["text"])
                if read.conflict_type == "none":
                    return "other_conflict"
        return None

    @cached_property
    def _program(self) -> Any:
        profile = self._memory.profile
        intents = {name: intent.description for name, intent in profile.intents.items()}
        if self._is_teacher:
            conflicts = {name: meaning for name, meaning in profile.conflict_types.items() if name != "none"}
            return Predict(with_labels(with_labels(JudgeDream, intents, "intent"), conflicts, "conflict_types"))
        program = Predict(with_labels(JudgeIntent, intents, "intent"))
        program.demos = [*self._examples()]
        return program

    @cached_property
    def _reader(self) -> Any:
        return CONFLICT.program(self._memory.profile)

    def _examples(self) -> list[dspy.Example]:
        memory = self._memory
        return [
            dspy.Example(history=_told(memory.lines(name)[:SHOWN]), intent=intent, intent_confidence=1.0).with_inputs(
                "history"
            )
            for intent, names in sorted(memory.by_intent.items())
            for name in names[:EXAMPLES]
        ]


def _told(messages: Sequence[Mapping[str, Any]]) -> list[dict[str, str]]:
    return [{"role": message["role"], "text": message["text"]} for message in messages]
