"""The command line: `understudy ...`."""

import asyncio
import csv
import io
import json
import os
import sys
import threading
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from understudy import comparing, guarding, learning
from understudy.showing import console, printable, printable_json
from understudy.terminal import JSON, conversation_bar, open_brain, say, say_error, show_result, told

if TYPE_CHECKING:
    from types import TracebackType

    from understudy.nodes.brain import Brain

STOPPED = "stopped; what is written is kept, and the same command goes on from here"


# In these two texts "\b" keeps click from filling the lines anew.
ABOUT = """Learn safely from live customer chat: watch in shadow mode, write down what would be said, send nothing.

Settings come from the environment and from .env (see .env.example). Start with:

\b
  understudy demo
  understudy replay conversations.jsonl
  understudy status
"""

REPLAY = """Observe recorded conversations: JSON lines, one conversation a line.

One of the bundled conversations, broken into several lines here. Only conversation_id and messages, with role and text,
must be there.

\b
  {"conversation_id": "dt-047", "profile": "default", "customer": null,
   "messages": [
     {"role": "customer",
      "text": "2 large pepperoni one half mushroom, Bixby apt 4 top buzzer,
               can the guy bring change for a fifty",
      "at": "2026-01-09T18:33:00Z",
      "labels": {"intent": "unclear", "conflict_type": "off_topic",
                 "tone": "friendly", "main_goal": "get_information",
                 "sub_goals": [], "required_info": [],
                 "quality_score": 0.85, "completeness": 0.0,
                 "issues": [], "suggestions": []}},
     {"role": "agent",
      "text": "Sounds delicious, but you've landed at a car detailing shop!
               If the car ever smells of pepperoni, we're the right ones.",
      "at": "2026-01-09T18:34:00Z", "action": "redirect"}],
   "outcome": {"workflow_outcome": "abandoned", "user_satisfaction": null}}

Run it again after an interruption: what was observed is not observed twice. A bad line is skipped and told, the others
are kept, and the exit status is 1.

While the model server is down, turns wait for it; with BRAIN_WHEN_DOWN=fault they are recorded without an answer, and
--faults reads them again when it is back.
"""


def main() -> None:
    """Run the command line; an error of ours is one line on stderr and exit status 1."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # a terminal may know fewer letters than we
    sys.excepthook = _tell_of_a_defect
    threading.excepthook = lambda died: _tell_of_a_defect(
        died.exc_type, died.exc_value or died.exc_type(), died.exc_traceback
    )
    try:
        sys.exit(_run())
    except (KeyboardInterrupt, click.Abort):
        say_error(STOPPED)
        sys.exit(130)


def _run() -> int:
    try:
        return int(commands.main(prog_name="understudy", standalone_mode=False) or 0)
    except click.exceptions.Exit as done:
        return done.exit_code
    except click.UsageError as error:
        usage = io.StringIO()
        error.show(usage)
        click.echo("\n".join(map(printable, usage.getvalue().rstrip().split("\n"))), err=True)
        return error.exit_code
    except click.ClickException as error:
        return say_error(error.message)
    except _ours() as error:
        return say_error(*str(error).split("\n"))


def _tell_of_a_defect(kind: type[BaseException], error: BaseException, trace: "TracebackType | None") -> None:
    """Say where an error that nobody expected came from; a traceback may quote what a customer has said."""
    from understudy.intake import public

    say_error(f"a defect of understudy, please report it: {public(error)}")


def _ours() -> type[Exception]:
    from understudy.intake import UnderstudyError

    return UnderstudyError


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110}, help=ABOUT)
@click.version_option(package_name="understudy")
def commands() -> None:
    """Hold the commands."""


for command in (*learning.COMMANDS, *comparing.COMMANDS, *guarding.COMMANDS):
    commands.add_command(command)


@commands.command()
@click.option(
    "--folder",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path("understudy-demo"),
    show_default=True,
    help="Where the demo's own gym is put; made anew each time.",
)
@JSON
def demo(folder: Path, as_json: bool) -> None:
    """Show the whole story on the bundled conversations; your own gym is not touched."""
    from understudy.demo import BUNDLED, run_demo

    with conversation_bar("observing", [BUNDLED]) as bar, told(folder):
        found = asyncio.run(run_demo(folder, bar.advance, lambda news: bar.say(f"learning, {news['module']}")))
    if as_json:
        click.echo(json.dumps(found))
    else:
        _show_demo(found)


@commands.command(help=REPLAY)
@click.argument("files", nargs=-1, type=click.Path(path_type=Path))
@click.option("--faults", is_flag=True, help="Read again the turns that lack an answer, and those that still wait.")
@JSON
def replay(files: tuple[Path, ...], faults: bool, as_json: bool) -> int:
    """Observe recorded conversations."""
    from understudy.replay import replay as observe

    if not files and not faults:
        raise click.UsageError("give FILE..., --faults, or both")
    brain = open_brain()
    with conversation_bar("observing", None if faults else files) as bar:
        report = asyncio.run(observe(list(files), brain, bar.advance, bar.wait, faults=faults))
    if brain.gym is None:
        raise AssertionError("replay runs with a gym only")
    found = report.to_json(brain.gym)
    brain.gym.close()
    say_error(*report.lines.errors)
    show_result(found, as_json)
    return 1 if report.lines.skipped else 0


@commands.command()
@JSON
def status(as_json: bool) -> None:
    """Say what the gym holds and what runs."""
    from understudy.graph.due import in_words
    from understudy.status import status as look

    found = look(open_brain())
    if not as_json:
        found["jobs"] = {one["name"]: in_words(one) for one in found["jobs"]}
        found["ready"] = {
            n: f"no ({'; '.join(one['missing'])})" if one["missing"] else "yes" for n, one in found["ready"].items()
        }
    show_result(found, as_json)


@commands.command()
@JSON
def serve(as_json: bool) -> None:
    """Stay and watch: read turns as they come, and learn and dream when it is time.

    The turns that wait in the gym's log are read, whoever has written them. When RL_GYM_OPTIMIZE_INTERVAL decisions
    have come it learns, and every DREAM_INTERVAL_HOURS it dreams, each in a process of its own; SCHEDULER_ENABLED=false
    leaves that out. Of several on one gym one works, and another takes over when that one is gone.

    SIGTERM or Ctrl-C ends it within ten seconds, and nothing is lost.
    """
    from understudy.serve import serve as stay

    show_result(asyncio.run(stay(open_brain(), say_error)), as_json)


@commands.command()
@JSON
def models(as_json: bool) -> None:
    """List what the model server has, and which roles play it."""
    from understudy.lm.stock import models as look
    from understudy.settings import Settings

    found = look(Settings())
    if as_json:
        click.echo(json.dumps({"models": found}))
        return
    for one in found:
        about = [f"{one[key]}{unit}" for key, unit in (("parameters", ""), ("size_gb", " GB")) if one.get(key)]
        roles = ", ".join(one["roles"])
        loaded = "loaded" if one.get("loaded") else ""
        say("  ".join(filter(None, [f"{one['name']:<30}", *about, loaded, roles])))


@commands.command()
@click.argument("conversation")
@click.option("--workflow-outcome", type=click.Choice(["success", "failure", "abandoned"]), help="How it ended.")
@click.option("--satisfaction", type=click.FloatRange(0, 1), help="The customer's satisfaction, 0 to 1.")
@JSON
def outcome(conversation: str, workflow_outcome: str | None, satisfaction: float | None, as_json: bool) -> None:
    """Say how a conversation ended; this is evidence, and it closes the conversation."""
    from understudy.replay import tell

    if workflow_outcome is None and satisfaction is None:
        raise click.UsageError("give --workflow-outcome, --satisfaction, or both")
    given = {"workflow_outcome": workflow_outcome, "user_satisfaction": satisfaction}
    brain = open_brain()
    asyncio.run(tell(brain, conversation, outcome={k: v for k, v in given.items() if v is not None}))
    show_result(_tally(brain, [conversation]), as_json)


@commands.command()
@click.argument("conversation", required=False)
@click.argument("turn", required=False, type=click.IntRange(0))
@click.argument("values", nargs=-1, metavar="[FIELD=VALUE]...")
@click.option(
    "--file",
    "table",
    type=click.Path(path_type=Path),
    help="A CSV file with the columns conversation_id, turn and one for each field; an empty cell says nothing.",
)
@click.option("--author", help="Who says so.")
@click.option("--teacher", is_flag=True, help="Let the teacher model label turns of closed conversations.")
@click.option("--limit", type=click.IntRange(1), help="With --teacher: at most so many conversations; 50 if left out.")
@JSON
def label(
    conversation: str | None,
    turn: int | None,
    values: tuple[str, ...],
    table: Path | None,
    author: str | None,
    teacher: bool,
    limit: int | None,
    as_json: bool,
) -> int:
    """Say what is true of a turn: `understudy label c1 0 intent=booking conflict_type=none`.

    Turns are customer messages, counted from 0. A list is written with commas: required_info=phone,service. A later
    label corrects an earlier one; both are kept.

    With --teacher the teacher model (OLLAMA_TEACHER_MODEL) labels the turns that nobody has labelled, in closed
    conversations, the newest first. Its labels are trusted least, and serve for training only. Run it again to go on.
    """
    if teacher:
        if conversation is not None or table is not None or author is not None:
            raise click.UsageError("--teacher takes neither CONVERSATION nor --file nor --author")
        return _label_by_teacher(limit or 50, as_json)
    if limit is not None:
        raise click.UsageError("--limit goes with --teacher")
    if (table is None) == (conversation is None):
        raise click.UsageError("give CONVERSATION TURN FIELD=VALUE..., or --file rows.csv")
    if table is None and (turn is None or not values):
        raise click.UsageError("give CONVERSATION TURN FIELD=VALUE...")
    rows = _rows(table) if table else iter([("", str(conversation), str(turn), dict(_pair(v) for v in values))])
    brain = open_brain()
    told, errors = asyncio.run(_label_all(brain, rows, author))
    say_error(*errors)
    show_result({"labelled": len(told), "skipped": len(errors), **_tally(brain, sorted(set(told)))}, as_json)
    return 1 if errors else 0


def _label_by_teacher(limit: int, as_json: bool) -> int:
    from understudy.nodes.teacher_labels import label_by_teacher

    brain = open_brain()
    with conversation_bar("labelling", None) as bar:
        report = asyncio.run(label_by_teacher(brain, limit, bar.advance))
    show_result({**report.to_json(), **_tally(brain, report.conversations)}, as_json)
    return 0


@commands.command()
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False, allow_dash=True))
@JSON
def export(file: Path, as_json: bool) -> None:
    """Write decisions with their evidence as JSON lines into FILE; - is stdout."""
    from understudy.status import exported

    brain = open_brain()
    if str(file) == "-":
        for row in exported(brain):
            click.echo(json.dumps(row))
        return
    with told(file):
        count = _write(file.resolve(), exported(brain))
    show_result({"decisions": count, "file": str(file)}, as_json)


def _write(file: Path, rows: Iterator[dict[str, Any]]) -> int:
    """Write rows where only the owner reads them, all or nothing; return how many."""
    if file.exists() and not file.is_file():
        raise click.ClickException(f"{file}: cannot be written: it is no plain file; - is stdout")
    count, unfinished = 0, file.with_name(f".{file.name[:200]}.{os.getpid()}")
    try:
        with open(unfinished, "x", encoding="utf-8", opener=partial(os.open, mode=0o600)) as out:
            for row in rows:
                out.write(printable_json(row) + "\n")
                count += 1
        unfinished.replace(file)
    finally:
        unfinished.unlink(missing_ok=True)
    return count


Row = tuple[str, str, str, dict[str, str]]
"""Where a label stands (`file:line: `), its conversation, its turn, its fields."""


async def _label_all(brain: "Brain", rows: Iterator[Row], author: str | None) -> tuple[list[str], list[str]]:
    """Give labels to the graph; return the conversation of each, and what is wrong with the others."""
    from understudy.replay import teller

    told, errors = [], []
    async with teller(brain) as say:
        for where, conversation_id, turn, fields in rows:
            try:
                await say(conversation_id, label=_read_label(brain, conversation_id, turn, fields, author))
                told.append(conversation_id)
            except _ours() as error:
                errors.append(where + " ".join(str(error).splitlines()))
    return told, errors


def _read_label(
    brain: "Brain", conversation_id: str, turn: str, fields: dict[str, str], author: str | None
) -> dict[str, Any]:
    from understudy.intake import InputError
    from understudy.nodes.labels import read_labels
    from understudy.replay import known

    _, profile = known(brain, conversation_id)
    if not turn.isdecimal() or len(turn) > 9:
        raise InputError(f"turn: must be a whole number from 0, is {turn[:60]!r}")
    return {"turn": int(turn), "fields": read_labels(fields, profile), "author": author}


def _rows(path: Path) -> Iterator[Row]:
    """Yield the rows of a CSV file that say something."""
    try:
        # What is no UTF-8 stays wrong in its own row, and the rows around it are read.
        with path.open(encoding="utf-8-sig", errors="surrogateescape", newline="") as file:
            reader = csv.DictReader(file, restkey="a cell without a column", restval="")
            yield from _read_rows(path, reader)
    except OSError as error:
        raise click.ClickException(f"{path}: cannot be read: {error.strerror}") from None


def _read_rows(path: Path, reader: "csv.DictReader[str]") -> Iterator[Row]:
    try:
        if not {"conversation_id", "turn"} <= set(reader.fieldnames or ()):
            raise click.ClickException(f"{path}:1: the columns conversation_id and turn must be there")
        for row in reader:
            conversation_id, turn = row.pop("conversation_id"), row.pop("turn")
            fields = {name: text for name, cell in row.items() if (text := "".join(cell).strip())}
            if fields:
                yield f"{path}:{reader.line_num}: ", conversation_id, turn, fields
    except csv.Error as error:
        raise click.ClickException(
            f"{path}:{reader.line_num}: not CSV from here on: {error}; the rows before are kept"
        ) from None


def _pair(text: str) -> tuple[str, str]:
    name, sign, value = text.partition("=")
    if not sign or not name:
        raise click.UsageError(f"{text!r}: write FIELD=VALUE")
    return name, value


def _tally(brain: "Brain", conversations: list[str]) -> dict[str, Any]:
    return dict(brain.gym.tally(conversations)) if brain.gym else {}


def _change(before: float | None, after: float | None, form: str) -> str:
    return "-" if before is None or after is None else f"{before:{form}} -> {after:{form}}"


def _rights(result: dict[str, Any]) -> str:
    right = result.get("right") or {"old": {}, "new": {}}
    old, new = right["old"], right["new"]
    return "\n".join(f"{field} {_change(share, new.get(field), '.0%')}" for field, share in old.items())


def _show_demo(found: dict[str, Any]) -> None:
    from rich.table import Table

    from understudy.comparing import in_words

    seen, learnt, later = found["observe"], found["optimize"], found["later"]
    table = Table(title="On sealed conversations that nothing was learnt from", title_justify="left")
    for column in ("module", "score", "right", "new version"):
        table.add_column(column, no_wrap=True)
    for name, result in learnt["module_results"].items():
        score = _change(result.get("baseline_score"), result.get("score"), ".2f")
        table.add_row(name, score, _rights(result), result["status"])
    say(
        f"Observed {seen['conversations']} conversations, {seen['turns']} customer turns, in {seen['seconds']:.1f} s: "
        f"{seen['decisions']} decisions, {seen['faults']} faults, {seen['evidence']} pieces of evidence.",
        "",
    )
    console().print(table, soft_wrap=True)
    say(*(f"{name}: {result['reason']}" for name, result in learnt["module_results"].items()), "")
    say(f"Then {later['conversations']} more came. In each, old and new version answered side by side, unseen:", "")
    if found["plot"]:
        say(*found["plot"].split("\n"))
    for name, one in found["ab"].items():
        say("", f"{name}:", *in_words(one))
    gym = Path(seen["gym"])
    say(
        "",
        "The embedded engine answered. It needs nothing and is no substitute for a real model.",
        f"All of it is in {gym.parent}: open the .db files with any SQLite tool, or run",
        f"  RL_GYM_DB_PATH={gym} OPTIMIZED_MODULES_DIR={gym.parent / 'demo_modules'} \\",
        f"    {sys.argv[0]} ab status",
        f"The picture of the A/B test is {found['picture']}.",
    )
