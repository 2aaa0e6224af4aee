"""What a model server has, and whether that is what the settings ask for."""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

from understudy.lm.errors import ModelMissing, RequestRefused
from understudy.lm.roles import model_names
from understudy.settings import Settings


def models(settings: Settings) -> list[dict[str, Any]]:
    """Return the models of the server: name, size_gb, parameters, quantization, loaded, and the roles they play.

    Raises:
        ModelError: the server cannot be asked.
    """
    roles = model_names(settings)
    if settings.lm_provider == "embedded":
        return [{"name": name, "roles": [role]} for role, name in roles.items()]
    from understudy.lm.ollama import asked

    listed = asked(settings, lambda client: client.list()).models
    running = {one.model for one in asked(settings, lambda client: client.ps()).models}
    return [
        {
            "name": one.model,
            "size_gb": round((one.size or 0) / 1e9, 1),
            "parameters": one.details.parameter_size if one.details else None,
            "quantization": one.details.quantization_level if one.details else None,
            "loaded": one.model in running,
            "roles": [role for role, name in roles.items() if full_name(name) == one.model],
        }
        for one in listed
    ]


def checks(settings: Settings) -> Iterator[tuple[str, Callable[[], str]]]:
    """Yield what must be true of the model server: a name, and a call that says how it is or raises a ModelError."""
    if settings.lm_provider == "embedded":
        return
    yield "model server", partial(_reached, settings)
    for role, name in model_names(settings).items():
        yield f"model of the {role}", partial(_fits, settings, role, name)


def full_name(name: str) -> str:
    """Return a model's name as Ollama lists it, with its tag."""
    return name if ":" in name.rpartition("/")[2] else f"{name}:latest"


def _reached(settings: Settings) -> str:
    from understudy.lm.ollama import version

    return f"Ollama {version(settings)} at {settings.ollama_base_url.rpartition('@')[2]}"


def _fits(settings: Settings, role: str, name: str) -> str:
    """Say of a model that it is there, can read num_ctx tokens, and does not think where it must not."""
    from understudy.lm.ollama import asked

    async def look(client: Any) -> tuple[int | None, bool]:
        shown = await client.show(name)
        lengths = [value for key, value in (shown.modelinfo or {}).items() if key.endswith(".context_length")]
        return (int(lengths[0]) if lengths else None), "thinking" in (shown.capabilities or [])

    try:
        longest, can_think = asked(settings, look, name)
    except ModelMissing:
        raise ModelMissing(f"{name} is not there; run: ollama pull {name}") from None
    if longest is not None and settings.ollama_num_ctx > longest:
        raise RequestRefused(f"{name} can read {longest:,} tokens; set OLLAMA_NUM_CTX to at most that")
    context = f"{settings.ollama_num_ctx:,} of {longest:,} tokens of context" if longest else "context unknown"
    thinks = role == "teacher" and settings.ollama_teacher_reasoning
    if thinks and not can_think:
        raise RequestRefused(f"{name} cannot think; set OLLAMA_TEACHER_REASONING=false")
    return f"{name}, {context}" + (f", thinking {'on' if thinks else 'switched off'}" if can_think else "")
