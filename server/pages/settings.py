"""What is set: read-only, since the environment and `.env` are where it is changed."""

from nicegui import ui

from understudy.nodes.brain import Brain
from understudy.server.pages.frame import Tag, asked, page, section


@page("/settings")
async def settings() -> None:
    """Show every setting, and which are not the default's."""
    found = await asked(_settings)
    with section("Settings", "Set them in the environment or in .env, and start again. Secrets are not shown."):
        with ui.element("table"), ui.element("tbody"):
            for name, value, default in found:
                with ui.element("tr").classes("changed" if value != default else ""):
                    Tag("th", name.upper()).props("scope=row")
                    Tag("td", value)
                    Tag("td", "" if value == default else f"default {default}").classes("about")


def _settings(brain: Brain) -> list[tuple[str, str, str]]:
    shown, defaults = brain.settings.shown(), type(brain.settings).model_construct().shown()
    return [(name, str(value), str(defaults[name])) for name, value in shown.items()]
