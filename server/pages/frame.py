"""What every page of the dashboard has: its place, its head, how a text is shown, what stands where nothing is yet."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from pathlib import Path
from typing import ParamSpec, TypeVar

from nicegui import context, ui
from nicegui.element import Element

from understudy.checkpoints.file import BUSY_SECONDS
from understudy.intake import UnderstudyError
from understudy.nodes.brain import Brain, own_brain
from understudy.settings import current_settings
from understudy.showing import printable

P = ParamSpec("P")
T = TypeVar("T")

MOST_SECONDS = 3 * BUSY_SECONDS
"""A page may take to be built: NiceGUI gives up after 3, before the gym has said that it is locked."""

ROOT = "/brain/ui"
PAGES = (
    ("/", "overview", "Overview"),
    ("/conversations", "conversations", "Conversations"),
    ("/review", "review", "Review"),
    ("/versions", "versions", "Versions"),
    ("/ab", "ab", "A/B tests"),
    ("/dreams", "dreams", "Dreams"),
    ("/jobs", "jobs", "Jobs"),
    ("/settings", "settings", "Settings"),
)
"""Path, file and title of each page, in the order of the head."""

ICON = (
    "<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 32 32'><rect width='32' height='32' rx='7' fill='#0b6e6e'/>"
    "<path d='M9 8v9a7 7 0 0 0 14 0V8' fill='none' stroke='#fff' stroke-width='4' stroke-linecap='round'/></svg>"
)

ui.add_css((Path(__file__).parent / "style.css").read_text(encoding="utf-8"), shared=True)


def page(path: str) -> Callable[[Callable[P, Awaitable[None]]], Callable[P, Awaitable[None]]]:
    """Register a page of PAGES, or one below it; an error of ours is its text."""
    title = next(title for known, _, title in reversed(PAGES) if path.startswith(known))

    def add(build: Callable[P, Awaitable[None]]) -> Callable[P, Awaitable[None]]:
        @ui.page(path, title=f"{title} - understudy", response_timeout=MOST_SECONDS)
        @wraps(build)
        async def shown(*args: P.args, **kwargs: P.kwargs) -> None:
            head(title)
            try:
                await build(*args, **kwargs)
            except UnderstudyError as error:
                missing("This page cannot be shown.", str(error))

        return shown

    return add


async def asked(load: Callable[[Brain], T]) -> T:
    """Return what a function finds with this process's brain; it runs in a thread, where SQLite may wait."""
    return await asyncio.to_thread(lambda: load(own_brain()))


def head(title: str) -> None:
    """Write what stands above a page: the product, the pages, and a way out where a token was asked for."""
    client = context.client
    with client.layout, ui.element("header") as banner:
        with ui.element("div").classes("head"):
            with link("", PAGES[0][0]).classes("mark"):
                Tag("b", "understudy")
                Tag("span", "shadow mode: nothing is sent")
            with ui.element("nav").props("aria-label=Pages"):
                for path, _, name in PAGES:
                    to = link(name, path)
                    if name == title:
                        to.props("aria-current=page")
                if current_settings().brain_api_token is not None:
                    with ui.element("form").props("method=post action=/brain/logout"):
                        Tag("button", "Log out").props("type=submit").classes("plain")
    banner.move(target_index=0)  # what is in a layout comes after the page else
    ui.skip_link("Skip to the page", target=client.content)


def heading(title: str, about: str = "", named: str = "") -> None:
    """Write what a page is about, the first thing on it; `named` goes into the title of a page of one of several."""
    if named:
        ui.page_title(f"{printable(named)} - understudy")
    Tag("h1", title)
    if about:
        prose(about).classes("lead")


@contextmanager
def section(title: str, about: str = "") -> Iterator[None]:
    """Open a part of a page with a heading, and a line on what it shows."""
    with ui.element("section"):
        Tag("h2", title)
        if about:
            prose(about).classes("about")
        yield


class Tag(Element):
    """An HTML element with text, as text only: nothing in it is obeyed, and what would be invisible is spelled out.

    Lines stay lines where the style keeps them (class `said`).
    """

    def __init__(self, name: str, text: object = "") -> None:
        super().__init__(name)
        self.say(text)

    def say(self, text: object) -> None:
        """Replace the text."""
        self._text = "\n".join(map(printable, str(text).split("\n")))
        self.update()


def link(text: object, path: str, *, new_tab: bool = False) -> Tag:
    """Write a link to a page of the dashboard; `path` begins with a slash, what comes from others in it is quoted."""
    made = Tag("a", text)
    made.props["href"] = ROOT + path
    return made.props("target=_blank rel=noopener") if new_tab else made


def prose(text: str) -> Element:
    """Write a paragraph; commands in backquotes stand out."""
    if "`" not in text:
        return Tag("p", text)
    with ui.element("p") as paragraph:
        for n, part in enumerate(text.split("`")):
            Tag("code" if n % 2 else "span", part)
    return paragraph


def empty(what: str, then: str) -> None:
    """Say that there is nothing yet, and what to do about it; commands in backquotes stand out."""
    with ui.element("div").classes("empty"):
        Tag("p", what).classes("what")
        prose(then)


def missing(what: str, then: str) -> None:
    """Say that there is no such page, or none that can be shown, and lead to another."""
    with ui.element("div").classes("empty"):
        Tag("h1", what)
        Tag("p", then)
        link(f"Go to {PAGES[0][2]}", PAGES[0][0])


def facts(rows: dict[str, object]) -> None:
    """Write a table of names and values."""
    with ui.element("dl").classes("facts"):
        for name, value in rows.items():
            Tag("dt", name)
            Tag("dd", value)
