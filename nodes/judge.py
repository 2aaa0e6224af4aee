"""Does a dream show what it was planned to show? The teacher reads it and says what the customer wants.

The embedded teacher reads nothing but its own prompts: there the student judges, by labelled conversations that it is
shown as examples.
"""

from collections.abc import Mapping
from functools import cached_property
from typing import Any

import dspy

from understudy.lm.adapter import AnswerAdapter, Predict
from understudy.lm.errors import ModelError
from understudy.lm.roles import get_lm, talkers
from understudy.nodes.brain import Brain
from understudy.nodes.faculty import Score, with_labels
from understudy.nodes.memory import Memory

EXAMPLES, SHOWN = 20, 12
"""Real conversations of each intent that the embedded student is shown, and messages of each: with these it names the
intent of 90 % of the STAR conversations that it has not seen, with 6 and 8 of 86 %."""


class JudgeDream(dspy.Signature):
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
        history = [{"role": message["role"], "text": message["text"]} for message in dream["messages"]]
        with dspy.context(
            lm=self._lm,
            adapter=AnswerAdapter(),
            disable_history=True,
            trace=None,
            callbacks=[],
            warn_on_type_mismatch=False,
        ):
            try:
                said = await self._program.acall(history=history)
            except ModelError as error:
                if error.down:
                    raise
                return f"fault: judge, {type(error).__name__}"
        return None if said.intent == plan["intent"] else "other_intent"

    @cached_property
    def _program(self) -> Any:
        intents = {name: intent.description for name, intent in self._memory.profile.intents.items()}
        program = Predict(with_labels(JudgeDream, intents, "intent"))
        if not self._is_teacher:
            program.demos = [*self._examples()]
        return program

    def _examples(self) -> list[dspy.Example]:
        memory = self._memory
        return [
            dspy.Example(
                history=[{"role": line["role"], "text": line["text"]} for line in memory.lines(name)[:SHOWN]],
                intent=intent,
                intent_confidence=1.0,
            ).with_inputs("history")
            for intent, names in sorted(memory.by_intent.items())
            for name in names[:EXAMPLES]
        ]
