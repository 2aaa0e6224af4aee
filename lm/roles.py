"""Which model speaks: the student reads turns, the teacher rewrites instructions, the dreamer invents customers."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Literal

import dspy
from dspy.lm15 import Request, Response, StreamAssemblyError

from understudy.lm.dreamer import EmbeddedDreamer
from understudy.lm.embedded import AsyncTwin, EmbeddedStudent, WholeAnswers
from understudy.lm.server import LOAD_SECONDS, made_once
from understudy.lm.teacher import MINIBATCH, EmbeddedTeacher
from understudy.settings import Settings, current_settings

Role = Literal["student", "teacher", "dreamer"]

LONG_ANSWER_TOKENS = 3000
"""Tokens of a teacher's or dreamer's answer: an instruction of 6,000 characters, and room."""


FEW_EXAMPLES = 8
"""Examples that a teacher of a server is shown at a time."""

EMBEDDED_TOKENS = 100_000
"""Tokens that a prompt for the embedded teacher may have."""


class OwnLM(dspy.LM):
    """A model of ours: a `dspy.lm15.Request` goes straight to its engine, anything else DSPy's way.

    DSPy's way (checks, retries, a thread for the async call) costs several times what the embedded engine's answer
    does, and the engine for Ollama has retries of its own. Requests and answers are the same either way, and on neither
    is a text kept in DSPy's cache or history. An answer that was cut off comes back with finish_reason "length".
    """

    def __init__(self, model: str, engine: Any, async_engine: Any, **options: Any) -> None:
        super().__init__(model, engine=engine, async_engine=async_engine, cache=False, num_retries=0, **options)
        self._twin = async_engine

    def __call__(self, prompt: Any = None, **options: Any) -> Any:
        """Answer a request; anything else goes DSPy's way."""
        if not isinstance(prompt, Request):
            with dspy.context(disable_history=True):
                return super().__call__(prompt, **options)
        try:
            return self.engine.complete(prompt)
        except StreamAssemblyError as error:
            return _partial(error)

    async def acall(self, prompt: Any = None, **options: Any) -> Any:
        """Answer as the plain call does."""
        if not isinstance(prompt, Request):
            with dspy.context(disable_history=True):
                return await super().acall(prompt, **options)
        try:
            return await self._twin.complete(prompt)
        except StreamAssemblyError as error:
            return _partial(error)


def _partial(error: StreamAssemblyError) -> Response:
    if error.partial is None:
        raise error
    return error.partial


def get_student_lm(settings: Settings | None = None) -> dspy.LM:
    """Return the model of the five modules; it answers the same request the same way."""
    return get_lm("student", settings or current_settings())


def get_teacher_lm(settings: Settings | None = None) -> dspy.LM:
    """Return the model that rewrites instructions."""
    return get_lm("teacher", settings or current_settings())


def get_dreamer_lm(settings: Settings | None = None) -> dspy.LM:
    """Return the model that invents conversations."""
    return get_lm("dreamer", settings or current_settings())


@contextmanager
def get_teacher_context(settings: Settings | None = None) -> Iterator[dspy.LM]:
    """Let DSPy speak to the teacher inside the `with` block, whatever is configured outside; yields the teacher."""
    teacher = get_teacher_lm(settings)
    with dspy.context(lm=teacher, disable_history=True, trace=None):
        yield teacher


def patience(settings: Settings) -> float:
    """Return the seconds after which a module is given up, whatever holds it.

    A model server may have to load the model, and the calls of one module wait for those of others; each has its own,
    shorter limit in `understudy.lm.server`. The embedded engine never waits.
    """
    embedded = settings.lm_provider == "embedded"
    return settings.ollama_timeout if embedded else LOAD_SECONDS + 10 * settings.ollama_timeout


def at_once(settings: Settings) -> int:
    """Return how many turns may be read at a time; the embedded engine never waits, so more only slow each other."""
    return 1 if settings.lm_provider == "embedded" else settings.ollama_num_parallel


def reflection(settings: Settings) -> tuple[int, int]:
    """Return how many examples the teacher reads at a time, and how many tokens its prompt may have.

    A model of a server has a context to fit into; the embedded teacher counts words, and more tell it more.
    """
    if settings.lm_provider == "embedded":
        return MINIBATCH, EMBEDDED_TOKENS
    return FEW_EXAMPLES, settings.ollama_num_ctx - LONG_ANSWER_TOKENS


def model_names(settings: Settings) -> dict[Role, str]:
    """Return the model of each role."""
    if settings.lm_provider == "embedded":
        return {"student": "embedded/student", "teacher": "embedded/teacher", "dreamer": "embedded/dreamer"}
    return {
        "student": settings.ollama_model,
        "teacher": settings.ollama_teacher_model,
        "dreamer": settings.dream_ollama_model,
    }


def talkers(settings: Settings) -> tuple[Role, ...]:
    """Return the roles whose model answers whatever it is asked; of the embedded engines that is the student alone."""
    return ("student",) if settings.lm_provider == "embedded" else tuple(model_names(settings))


@made_once
def get_lm(role: Role, settings: Settings) -> dspy.LM:
    """Return the model of a role, the same one for the same settings."""
    if settings.lm_provider == "ollama":
        return _ollama(role, settings)
    engines: dict[Role, type[WholeAnswers]] = {
        "student": EmbeddedStudent,
        "teacher": EmbeddedTeacher,
        "dreamer": EmbeddedDreamer,
    }
    engine = engines[role]()
    return OwnLM(f"embedded/{role}", engine, AsyncTwin(engine))


def _ollama(role: Role, settings: Settings) -> dspy.LM:
    # Loaded here: LangChain's client takes half a second, and the embedded engine does without it.
    from understudy.lm.ollama import ANSWER_TOKENS, AsyncOllamaEngine, OllamaEngine

    name = model_names(settings)[role]
    options: dict[str, Any] = {
        "student": {"temperature": 0.0, "seed": 0, "max_tokens": ANSWER_TOKENS},
        "teacher": {"temperature": 1.0, "seed": settings.gepa_seed, "max_tokens": LONG_ANSWER_TOKENS},
        "dreamer": {"temperature": 0.9, "top_p": 0.95, "max_tokens": LONG_ANSWER_TOKENS},
    }[role]
    engine = OllamaEngine(name, settings, reasoning=role == "teacher" and settings.ollama_teacher_reasoning)
    return OwnLM(f"ollama/{name}", engine, AsyncOllamaEngine(engine), **options)
