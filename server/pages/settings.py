"""What is set: read-only, since the environment and `.env` are where it is changed."""

from typing import Any, NamedTuple

from nicegui import ui

from understudy.nodes.brain import Brain
from understudy.server.pages.frame import Tag, asked, heading, page, section

GROUPS = {
    "Models": ("lm_", "ollama_"),
    "Who may call": ("brain_api_token", "brain_allow"),
    "Watching": ("brain_", "observe_", "inbox_", "personalize_"),
    "Gym": ("rl_gym_",),
    "Learning": ("use_", "optimized_", "gepa_", "gate_", "publish_"),
    "A/B tests": ("ab_",),
    "Dreams": ("dream_",),
    "Jobs": ("",),
}
"""What a setting's name begins with, by subject; the first that fits."""

UNITS = {
    "ollama_num_ctx": "tokens",
    "ollama_num_parallel": "turns at a time",
    "ollama_timeout": "s",
    "brain_history_messages": "messages",
    "brain_conversation_idle_hours": "h",
    "inbox_max": "messages",
    "rl_gym_optimize_interval": "decisions",
    "rl_gym_retention_days": "days; 0 keeps everything",
    "gepa_max_minutes": "min",
    "ab_max_conversations": "conversations",
    "dream_interval_hours": "h",
    "dream_min_conversations": "conversations",
    "dream_count": "dreams",
    "lease_seconds": "s",
}


class Setting(NamedTuple):
    """A setting as it is shown; `default` is None where it is that."""

    name: str
    values: list[str]
    default: str | None


@page("/settings")
async def settings() -> None:
    """Show every setting, and which are not the default's."""
    found = await asked(settings_by_subject)
    changed = sum(one.default is not None for some in found.values() for one in some)
    heading(
        "Settings",
        "They are read when the server starts: set them in the environment or in `.env`, and start it again."
        f" Secrets are not shown. {changed or 'None'} of them {'is' if changed == 1 else 'are'} not the default.",
    )
    for subject, some in found.items():
        with section(subject), ui.element("table").classes("stack even"), ui.element("tbody"):
            for one in some:
                _row(one)


def settings_by_subject(brain: Brain) -> dict[str, list[Setting]]:
    """Return every setting, by subject."""
    shown, defaults = brain.settings.shown(), type(brain.settings).model_construct().shown()
    found: dict[str, list[Setting]] = {subject: [] for subject in GROUPS}
    for name, value in shown.items():
        subject = next(subject for subject, begins in GROUPS.items() if name.startswith(begins))
        default = None if value == defaults[name] else ", ".join(_plain(name, defaults[name]))
        found[subject].append(Setting(name.upper(), _plain(name, value), default))
    return found


def _row(one: Setting) -> None:
    with ui.element("tr").classes("" if one.default is None else "changed"):
        Tag("th", one.name).props("scope=row")
        values = Tag("td", "\n".join(one.values)).classes("said")
        if one.default is None:
            values.props("colspan=2")
        else:
            Tag("td", f"default {one.default}").classes("about")


def _plain(name: str, value: Any) -> list[str]:
    """Write a value as one would type it, with its unit; a list has several."""
    if isinstance(value, tuple | list):
        return [str(one) for one in value]
    if value is None:
        return ["not set"]
    if isinstance(value, bool):
        return [str(value).lower()]
    text = f"{value:g}" if isinstance(value, float) else str(value)
    return [f"{text} {UNITS[name]}" if name in UNITS else text]
