"""A message, as every page shows it: who said it, when or with which labels, and the text as it was."""

from nicegui import ui

from understudy.server.pages.frame import Tag


def bubble(kind: str, text: str | None, *about: str, asked: bool = False) -> None:
    """Write a message of a `customer_message` or `agent_message`, or of a role; `asked` marks what it is all about.

    Three elements, and no more: a page has up to some hundred messages, and what is on all pages costs every page time.
    """
    side = "agent" if kind.startswith("agent") else "customer"
    with ui.element("div").classes(f"bubble {side}{' asked' if asked else ''}"):
        Tag("p", " · ".join(filter(None, (side.capitalize(), *about)))).classes("about")
        Tag("p", text or "").classes("said")
