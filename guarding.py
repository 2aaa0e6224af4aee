"""The commands that guard what is remembered: is it whole, is there a copy, and how is it erased?"""

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click

from understudy.showing import console, printable
from understudy.terminal import JSON, conversation_bar, open_brain, say, say_error, show_result

PROFILE = click.option("--profile", help="A profile's name; BRAIN_PROFILE's when left out.")

# In these texts "\b" keeps click from filling the lines anew.
BACKUP = """Copy the gym and the saved programs into FOLDER, as they are at this moment; everything goes on running.

FOLDER must not be there yet, or be empty. It comes as a whole or not at all. To restore it, name the copy:

\b
  RL_GYM_DB_PATH=FOLDER/brain_gym.db
  OPTIMIZED_MODULES_DIR=FOLDER/optimized_modules

or stop everything, move the old gym away together with its -wal and -shm files, and copy FOLDER's content to where
it was. A backup keeps what is erased from the gym later: whoever must forget a customer removes old backups too.
"""

DOCTOR = """Check that everything is there; the exit status is 1 when something needed is missing or damaged.

With --repair, best while nothing else runs:

\b
  damaged indexes are built anew; of a gym that is damaged otherwise, what can be read is
    saved in a new file beside it (.salvaged), and the damaged one stays as it is
  rows that belong to no conversation are erased
  a latest.json that names a version that does not load names the newest published one that does;
    an A/B test of such a version is ended
  other people's rights to read gym and programs are taken away
"""

FORGET = """Erase conversations everywhere, for ever.

\b
  understudy forget c1
  understudy forget --customer 4711
  understudy forget --customer email=ada@example.com

Messages, decisions, evidence, checkpoints, suggestions, answers in A/B tests, dreams made of them, and what killed
runs have left on disk: all goes. Then the gym's file is written anew, since SQLite may leave copies in unused parts
of its pages; this needs room for a second copy, and other writers wait meanwhile, some seconds a GB. So a file over
half a GB is written anew only with --rewrite, which may also be given alone, later; --no-rewrite leaves it out.

What a version has learnt cannot be taken out of it: those that learnt from it are listed, with the command that
retires them. Exports and backups of your own are not looked for.

--expired is what the scheduler does every day when RL_GYM_RETENTION_DAYS is set; it holds no other writer up, and
does not write the file anew.
"""


@click.command(help=BACKUP)
@click.argument("folder", type=click.Path(path_type=Path))
@JSON
def backup(folder: Path, as_json: bool) -> None:
    """Copy the gym and the saved programs."""
    from understudy.backup import backup as copy
    from understudy.settings import Settings

    try:
        with _bytes_bar() as on_progress:
            found = copy(Settings(), folder, on_progress)
    except KeyboardInterrupt:
        say_error(f"stopped; nothing is left of {folder}")
        raise click.exceptions.Exit(130) from None
    for line in found["damaged"]:
        say_error(f"{line}; the copy is as it is")
    show_result(found if as_json else {**found, "damaged": len(found["damaged"])}, as_json)


@contextmanager
def _bytes_bar() -> Iterator[Callable[[int, int], None]]:
    """Show on stderr, when that is a terminal, how much is copied; yield what is told so."""
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

    shown = console(stderr=True)
    columns = (TextColumn("copying"), BarColumn(), DownloadColumn(), TimeRemainingColumn())
    with Progress(*columns, console=shown, disable=not shown.is_terminal, transient=True) as progress:
        task = progress.add_task("", total=None)
        yield lambda done, of: progress.update(task, completed=done, total=of)


@click.command(help=DOCTOR)
@click.option("--repair", is_flag=True, help="Look closer, mend what can be mended, and say what was done.")
@JSON
def doctor(repair: bool, as_json: bool) -> int:
    """Check that everything is there."""
    from understudy.doctor import doctor as look

    mended: list[str] | None = [] if repair else None
    checks = look(mended)
    if as_json:
        click.echo(json.dumps({"checks": checks, **({"repaired": mended} if repair else {})}))
    else:
        for line in mended or []:
            say(f"mended: {line}")
        for check in checks:
            say(f"{'ok  ' if check['ok'] else 'BAD '} {check['name']}: {check['detail']}")
    return 0 if all(check["ok"] for check in checks) else 1


@click.command(help=FORGET)
@click.argument("conversations", nargs=-1, metavar="[CONVERSATION]...")
@click.option("--customer", help="All conversations of a customer: the `id` or `customer_id` given, or KEY=VALUE.")
@click.option("--expired", is_flag=True, help="All in which nothing was said for RL_GYM_RETENTION_DAYS.")
@click.option("--rewrite/--no-rewrite", default=None, help="Write the gym's file anew, or do not; see above.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.option("--run-id", hidden=True)
@JSON
def forget(
    conversations: tuple[str, ...],
    customer: str | None,
    expired: bool,
    rewrite: bool | None,
    yes: bool,
    run_id: str | None,
    as_json: bool,
) -> int:
    """Erase conversations."""
    from understudy import forgetting
    from understudy.intake import clean_text

    named = bool(conversations or customer)
    if named and expired:
        raise click.UsageError("--expired takes neither CONVERSATION nor --customer")
    if not (named or expired or rewrite):
        raise click.UsageError("give CONVERSATION..., --customer, --expired, or --rewrite alone")
    if expired and rewrite:
        raise click.UsageError("--expired does not write the file anew; run it with --rewrite alone afterwards")
    if any(clean_text(one) != one for one in (*conversations, customer or "")):
        raise click.UsageError("no conversation or customer can have such an id: it is no valid text")
    brain = open_brain()
    if not (named or expired):
        show_result(forgetting.rewrite(brain), as_json)
        return 0
    if expired:
        with conversation_bar("erasing", None) as bar:
            found = forgetting.forget_expired(brain, advance=lambda _: bar.advance(0))
    else:
        theirs = forgetting.conversations_of(brain, customer) if customer else []
        wanted = list(dict.fromkeys([*conversations, *theirs]))
        if not (yes or as_json) and sys.stdin.isatty():
            shown = ", ".join(wanted[:5]) + (f" and {len(wanted) - 5} more" if len(wanted) > 5 else "")
            click.confirm(printable(f"Erase {len(wanted)} conversations for ever: {shown}?"), abort=True)
        with conversation_bar("erasing", None) as bar:
            found = forgetting.forget(brain, wanted, rewrite=rewrite, advance=lambda _: bar.advance(0))
    return _show_erased(found, as_json)


def _show_erased(found: dict[str, Any], as_json: bool) -> int:
    if as_json:
        click.echo(json.dumps(found))
    else:
        lists = {name: found.pop(name, []) for name in ("versions", "waiting", "unknown", "unfinished")}
        show_result(found, False)
        if lists["versions"]:
            say("These versions learnt from what was erased; the check for customers' words has found none in them:")
        for one in lists["versions"]:
            used = ", in use" if one["in_use"] else ""
            say(f"  {one['module']} {one['version']} of profile {one['profile']}{used}: {one['retire']}")
        for module in lists["waiting"]:
            say(f"A version of {module} waits for a person, and may have learnt from it: optimize --decline {module}")
        for run in lists["unfinished"]:
            say(f"Run {run} has not ended: if it is at work in Studio, erase once more when it has.")
        for one in lists["unknown"]:
            say(f"Nothing is there of {one}.")
    if found["status"] == "error":
        say_error(found["reason"])
    return 1 if found["status"] == "error" or found.get("unknown") else 0


@click.command()
@click.argument("module")
@click.argument("version")
@PROFILE
@JSON
def retire(module: str, version: str, profile: str | None, as_json: bool) -> None:
    """Erase a version of MODULE for good; if it is in use, the newest other published one comes into use."""
    from understudy.forgetting import retire as erase

    show_result(erase(open_brain(), module, version, profile), as_json)


COMMANDS = (backup, doctor, forget, retire)
