"""How a page does something: buttons and fields, a question before it, and a line that says what came of it."""

from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Any

from nicegui import context, ui
from nicegui.element import Element

from understudy.intake import UnderstudyError
from understudy.nodes.brain import Brain
from understudy.server.pages.frame import Tag, asked, prose
from understudy.showing import printable


def button(text: str, on_click: Callable[[], Awaitable[object] | object], kind: str = "") -> ui.button:
    """Write a button; the kind `first` is for what one most likely wants, `danger` for what takes something away.

    A click while it is still at work is dropped: a double click asks once.
    """
    at_work = False

    async def once() -> None:
        nonlocal at_work
        if at_work:
            return
        at_work = True
        try:
            done = on_click()
            if isinstance(done, Awaitable):
                await done
        finally:
            at_work = False

    made = ui.button(printable(text), on_click=once, color=None)
    return made.props("no-caps unelevated").classes(f"act {kind}")


def chooser(
    label: str,
    choices: Mapping[str, str] | Iterable[str],
    chosen: str,
    on_choose: Callable[[str], object] | None = None,
) -> Element:
    """Write a label and a list to choose from, and return the list; of a mapping the values are shown."""
    texts = choices if isinstance(choices, Mapping) else {one: one for one in choices}
    with ui.element("label").classes("field"):
        Tag("span", label)
        with ui.element("select") as made:
            for value, text in texts.items():
                given(Tag("option", text), value=value, **({"selected": True} if value == chosen else {}))
    if on_choose:
        made.on("change", lambda event: on_choose(str(event.args)), js_handler="(e) => emit(e.target.value)")
    return made


def entry(label: str, **attributes: Any) -> Element:
    """Write a label and a line to type into, and return the line."""
    with ui.element("label").classes("field"):
        Tag("span", label)
        return given(ui.element("input"), **attributes)


def given(element: Element, **attributes: Any) -> Element:
    """Give an element attributes whose values are not ours, so that they are not read as more of them."""
    for name, value in attributes.items():
        element.props[name] = value
    return element


async def confirmed(question: str, then: str, yes: str, kind: str = "first") -> bool:
    """Ask before something is done, and say what it does, commands in backquotes; Escape or a click beside is a no."""
    # Not where the button is: that part of the page may be drawn anew meanwhile.
    with context.client.content, ui.element("div") as place, ui.dialog() as dialog:
        with ui.element("div").classes("ask"):
            title = Tag("h2", question)
            prose(then)
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
