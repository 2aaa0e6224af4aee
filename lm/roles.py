"""Which model speaks: the student reads every turn."""

from functools import cache
from typing import Any

import dspy

from understudy.lm.embedded import AsyncEmbeddedStudent, EmbeddedStudent
from understudy.settings import Settings, SettingsError, current_settings


class InProcessLM(dspy.LM):
    """A model that answers inside this process, at once; awaiting it needs no thread of its own."""

    async def acall(self, *args: Any, **options: Any) -> Any:
        """Answer as the plain call does."""
        return self(*args, **options)


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
    return InProcessLM(
        "embedded/student",
        engine=EmbeddedStudent(),
        async_engine=AsyncEmbeddedStudent(),
        cache=False,
        num_retries=0,
    )
