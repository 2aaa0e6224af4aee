"""How a page does something: a button, a question before it, and a line that says what came of it."""

from collections.abc import Awaitable, Callable

from nicegui import context, ui

from understudy.intake import UnderstudyError
from understudy.nodes.brain import Brain
from understudy.server.pages.frame import Tag, asked
from understudy.showing import printable


def button(text: str, on_click: Callable[[], Awaitable[object] | object], kind: str = "") -> ui.button:
    """Write a button; the kind `first` is for what one most likely wants, `danger` for what takes something away."""
    made = ui.button(printable(text), on_click=on_click, color=None)
    return made.props("no-caps unelevated").classes(f"act {kind}")


async def confirmed(question: str, then: str, yes: str, kind: str = "first") -> bool:
    """Ask before something is done, and say what it does; Escape and a click beside it are a no."""
    # Not where the button is: that part of the page may be drawn anew meanwhile.
    with context.client.content, ui.element("div") as place, ui.dialog() as dialog:
        with ui.element("div").classes("ask"):
            title = Tag("h2", question)
            Tag("p", then)
            with ui.element("div").classes("acts"):
                button("Cancel", lambda: dialog.submit(False))
                button(yes, lambda: dialog.submit(True), kind)
    dialog.props(f"aria-labelledby={title.html_id}")
    answer = await dialog
    place.delete()
    return bool(answer)


async def act(does: Callable[[Brain], str]) -> bool:
    """Do something in a thread, and tell what came of it; an error of ours is told as a line. Say whether it went."""
    page = context.client.content
    try:
        said, is_bad = await asked(does), False
    except UnderstudyError as error:
        said, is_bad = str(error), True
    with page:
        tell(said, is_bad)
    return not is_bad


def tell(what: str, is_bad: bool = False) -> None:
    """Show a line for some seconds, or a minute if something went wrong."""
    ui.notify(
        printable(what), timeout=60_000 if is_bad else 6_000, close_button="Close", position="bottom", multi_line=True,
        classes=f"told {'bad' if is_bad else 'good'}",
    )  # fmt: skip
