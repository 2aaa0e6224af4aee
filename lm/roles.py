"""Which model speaks: the student reads every turn."""

from functools import cache
from typing import Any

import dspy
from dspy.lm15 import Request

from understudy.lm.embedded import AsyncEmbeddedStudent, EmbeddedStudent
from understudy.settings import Settings, SettingsError, current_settings


class InProcessLM(dspy.LM):
    """A model inside this process: a request goes straight to its engine, and an answer is there at once.

    DSPy's way to a model server (checks of the request, cache, retries, history, a thread for the async call) costs
    several times what the answer does. Requests and answers are the same either way.
    """

    def __init__(self, model: str, engine: EmbeddedStudent) -> None:
        super().__init__(model, engine=engine, async_engine=AsyncEmbeddedStudent(), cache=False, num_retries=0)
        self._student = engine

    def __call__(self, prompt: Any = None, **options: Any) -> Any:
        """Answer a request; anything else goes DSPy's way."""
        return self._student.complete(prompt) if isinstance(prompt, Request) else super().__call__(prompt, **options)

    async def acall(self, prompt: Any = None, **options: Any) -> Any:
        """Answer as the plain call does."""
        return self(prompt, **options)


def get_student_lm(settings: Settings | None = None) -> dspy.LM:
    """Return the model of the five modules; DSPy neither caches nor retries for it.

    Raises:
        SettingsError: LM_PROVIDER names a provider that cannot be used.
    """
    settings = settings or current_settings()
    if settings.lm_provider != "embedded":
        raise SettingsError(
            f"LM_PROVIDER={settings.lm_provider}: this version speaks only to the embedded engine;"
            " set LM_PROVIDER=embedded"
        )
    return _embedded_student()


@cache
def _embedded_student() -> dspy.LM:
    return InProcessLM("embedded/student", EmbeddedStudent())
