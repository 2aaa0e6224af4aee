"""Show on a terminal what an optimisation does: a line for each module."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from understudy.showing import console, printable

if TYPE_CHECKING:
    from rich.progress import Progress

News = dict[str, Any]


@contextmanager
def watching() -> Iterator[Callable[[News], None]]:
    """Show progress on stderr when that is a terminal; yield what is called with the news."""
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    screen = console(stderr=True)
    columns = (
        TextColumn("{task.description:<10}", markup=False), BarColumn(),
        TextColumn("{task.fields[said]}", markup=False), TimeElapsedColumn(),
    )  # fmt: skip
    with Progress(*columns, console=screen, disable=not screen.is_terminal) as progress:
        lines: dict[str, _Line] = {}

        def watch(news: News) -> None:
            if "resumed" in news:
                screen.print(printable(f"goes on with run {news['resumed']}"), soft_wrap=True)
                return
            name = printable(news["module"])
            lines.setdefault(name, _Line(progress, name)).show(news)

        yield watch


@contextmanager
def dreaming_bar() -> Iterator[Callable[[int, int], None]]:
    """Show on stderr, when that is a terminal, how many dreams have passed; yield what is told so."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    screen = console(stderr=True)
    columns = (TextColumn("dreaming"), BarColumn(), MofNCompleteColumn(), TextColumn("dreams"), TimeElapsedColumn())
    with Progress(*columns, console=screen, disable=not screen.is_terminal) as progress:
        task = progress.add_task("", total=None)
        yield lambda kept, of: progress.update(task, completed=kept, total=of)


class _Line:
    """What is known of a module's search."""

    def __init__(self, progress: "Progress", name: str) -> None:
        self._progress = progress
        self._task = progress.add_task(name, total=None, said="")
        self._known: News = {"tried": 0, "accepted": 0, "calls": 0, "used": 0, "left": 0}

    def show(self, news: News) -> None:
        """Show what is new."""
        known = self._known
        known.update(news)
        if news.get("candidate"):
            known["accepted"] += 1
        if "expected_seconds" in news:
            said = f"{news['calls']:,} calls, {news['proposals']} proposals, about {news['expected_seconds']:.0f} s"
            if self._progress.console.is_terminal:
                self._progress.console.print(f"{printable(news['module'])}: at most {said}")
        elif "before" in news:
            said = f"sealed {news['before']:.3f} -> {news['score']:.3f}"
        else:
            best = f", best {known['score']:.3f}" if "score" in known else ""
            said = f"{known['tried']} tried, {known['accepted']} accepted{best}, {known['left']:,} calls left"
        self._progress.update(self._task, total=known["calls"], completed=known["used"], said=said)
