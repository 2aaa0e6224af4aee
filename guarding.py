"""The commands that guard what customers said: erase it."""

import json
import sys
from typing import Any

import click

from understudy.showing import printable
from understudy.terminal import JSON, conversation_bar, open_brain, say, show_result

PROFILE = click.option("--profile", help="A profile's name; BRAIN_PROFILE's when left out.")


@click.command()
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
) -> None:
    r"""Erase conversations everywhere, for ever.

    \b
      understudy forget c1
      understudy forget --customer 4711
      understudy forget --customer email=ada@example.com

    Messages, decisions, evidence, checkpoints, suggestions, answers in A/B tests, dreams made of them, and what killed
    runs have left on disk: all goes. Then the gym's file is written anew, since SQLite may leave copies in unused parts
    of its pages; this needs room for a second copy, and other writers wait meanwhile. With --no-rewrite it is left out,
    and --rewrite alone makes up for it.

    What a version has learnt cannot be taken out of it: those that learnt from it are listed, with the command that
    retires them. Exports and backups of your own are not looked for.

    --expired is what the scheduler does every day when RL_GYM_RETENTION_DAYS is set; it holds no other writer up, and
    does not write the file anew.
    """
    from understudy import forgetting

    named = bool(conversations or customer)
    if named and expired:
        raise click.UsageError("--expired takes neither CONVERSATION nor --customer")
    if not (named or expired or rewrite):
        raise click.UsageError("give CONVERSATION..., --customer, --expired, or --rewrite alone")
    if expired and rewrite:
        raise click.UsageError("--expired does not write the file anew; run it with --rewrite alone afterwards")
    brain = open_brain()
    if not (named or expired):
        show_result(forgetting.rewrite(brain), as_json)
        return
    if expired:
        with conversation_bar("erasing", None) as bar:
            found = forgetting.forget_expired(brain, advance=lambda _: bar.advance(0))
    else:
        wanted = forgetting.known(brain, conversations)
        wanted = list(dict.fromkeys([*wanted, *(forgetting.conversations_of(brain, customer) if customer else ())]))
        if not (yes or as_json) and sys.stdin.isatty():
            shown = ", ".join(wanted[:5]) + (f" and {len(wanted) - 5} more" if len(wanted) > 5 else "")
            click.confirm(printable(f"Erase {len(wanted)} conversations for ever: {shown}?"), abort=True)
        with conversation_bar("erasing", None) as bar:
            found = forgetting.forget(brain, wanted, rewrite=rewrite is not False, advance=lambda _: bar.advance(0))
    _show(found, as_json)


def _show(found: dict[str, Any], as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps(found))
        return
    versions = found.pop("versions")
    show_result(found, False)
    if versions:
        say("These versions learnt from what was erased; the check for customers' words has found none in them:")
    for one in versions:
        used = ", in use" if one["in_use"] else ""
        say(f"  {one['module']} {one['version']} of profile {one['profile']}{used}: {one['retire']}")


@click.command()
@click.argument("module")
@click.argument("version")
@PROFILE
@JSON
def retire(module: str, version: str, profile: str | None, as_json: bool) -> None:
    """Erase a version of MODULE for good; if it is in use, the newest other published one comes into use."""
    from understudy.forgetting import retire as erase

    show_result(erase(open_brain(), module, version, profile), as_json)


COMMANDS = (forget, retire)
