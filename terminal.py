"""What the commands share: how they read the settings, and how they print results, errors and progress.

Whatever is printed passes `printable`, or is JSON in ASCII.
"""

import json
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from understudy.showing import console, printable

if TYPE_CHECKING:
    from rich.progress import Progress

    from understudy.nodes.brain import Brain

# Commands import what they need when they run: `understudy --help` does not wait for DSPy.

JSON = click.option("--json", "as_json", is_flag=True, help="Print one JSON object and nothing else on stdout.")


def open_brain() -> "Brain":
    """Return a brain with the settings of the environment."""
    from understudy.nodes.brain import Brain
    from understudy.settings import Settings

    return Brain(Settings())


def say(*lines: str) -> None:
    """Print lines on stdout."""
    for line in lines:
        click.echo(printable(line))


def say_error(*lines: str) -> int:
    """Print lines on stderr, each with our name, and return the exit status for it."""
    for line in lines:
        click.echo(f"understudy: {printable(line)}", err=True)
    return 1


def show_result(found: dict[str, Any], as_json: bool) -> None:
    """Print a result: one JSON object, or a line a key."""
    if as_json:
        click.echo(json.dumps(found))
        return
    width = max(map(len, found))
    for key, value in found.items():
        say(f"{key.replace('_', ' '):<{width}}  {shown(value)}")


def shown(value: Any) -> Any:
    """Write a table in one line, tables in it in brackets, and what is not known as a dash."""
    if value is None:
        return "-"
    if not isinstance(value, dict):
        return value
    return ", ".join(f"{k} ({shown(v)})" if isinstance(v, dict) else f"{k} {v}" for k, v in value.items()) or "none"


def count_lines(paths: Iterable[Path]) -> int | None:
    """Count lines for the progress bar; None when a file cannot be read twice, as a pipe cannot."""
    total = 0
    for path in paths:
        try:
            if not path.is_file():
                return None
            with path.open("rb") as file:
                total += sum(1 for _ in file)
        except OSError:
            return None
    return total


@contextmanager
def told(path: Path) -> Iterator[None]:
    """Tell in one line that a file cannot be written."""
    try:
        yield
    except BrokenPipeError:
        raise
    except OSError as error:
        raise click.ClickException(f"{path}: cannot be written: {error.strerror}") from None


@contextmanager
def conversation_bar(what: str, paths: Iterable[Path] | None) -> "Iterator[ConversationBar]":
    """Show progress on stderr when that is a terminal; paths of None hold nobody knows how many conversations."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    screen = console(stderr=True)
    columns = (
        TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn(),
        TextColumn("conversations, {task.fields[turns]} turns"), TimeRemainingColumn(),
    )  # fmt: skip
    total = count_lines(paths) if paths is not None and screen.is_terminal else None
    with Progress(*columns, console=screen, disable=not screen.is_terminal) as progress:
        yield ConversationBar(progress, what, total)


class ConversationBar:
    """A progress bar for conversations; what it says beside stands above it."""

    def __init__(self, progress: "Progress", what: str, total: int | None) -> None:
        self._progress, self._what = progress, what
        self._task = progress.add_task(what, total=total, turns=0)
        self._turns = 0
        self._waits_for = ""

    def advance(self, turns: int) -> None:
        """Count a conversation and its turns."""
        self._turns += turns
        self._waits_for = ""
        self._progress.update(self._task, advance=1, turns=self._turns, description=self._what)

    def say(self, what: str) -> None:
        """Say what is done meanwhile; the next conversation takes it back."""
        self._progress.update(self._task, description=printable(what))

    def wait(self, why: str) -> None:
        """Say once what is waited for."""
        if not self._waits_for:
            self._waits_for = why
            self._progress.update(self._task, description="waiting")
            text = f"understudy: waiting for the model server: {why}; Ctrl-C stops, and nothing is lost"
            self._progress.console.print(printable(text), soft_wrap=True)
