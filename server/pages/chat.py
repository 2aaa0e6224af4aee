"""A message, as every page shows it: who said it, when or with which labels, and the text as it was."""

from nicegui import ui

from understudy.server.pages.frame import Tag


def bubble(kind: str, text: str | None, *about: str, asked: bool = False) -> None:
    """Write a message of a `customer_message` or `agent_message`, or of a role; `asked` marks what it is all about."""
    side = "agent" if kind.startswith("agent") else "customer"
    with ui.element("div").classes(f"bubble {side}{' asked' if asked else ''}"):
        with ui.element("div").classes("about row"):
            for one in (side.capitalize(), *about):
                if one:
                    Tag("span", one)
        Tag("p", text or "").classes("said")
