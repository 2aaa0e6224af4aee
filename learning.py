"""The commands that learn, and those that look after versions."""

import asyncio
import json
from pathlib import Path
from typing import Any

import click

from understudy.terminal import JSON, open_brain, say, show_result
from understudy.watching import dreaming_bar, watching

MODULE = click.argument("module")
PROFILE = click.option("--profile", help="A profile's name; BRAIN_PROFILE's when left out.")

# In such a text "\b" keeps click from filling the lines anew.
OPTIMIZE = """Learn from evidence: a teacher rewrites the modules' instructions, and what is proved better is used.

\b
Each module's instruction is rewritten on training conversations, chosen on others, and must win on
sealed conversations that neither has seen. It is then
  published   proved better: the next turn uses it
  candidate   better, but not proved: it answers beside the one in use until its A/B test decides
  rejected    no better, or it carries a customer's data
  skipped     there is too little evidence, or all of one kind

Ctrl-C or a crash loses nothing: the same command goes on where it stopped. With PUBLISH_APPROVAL=manual nothing is
published before a person has said so: --approve MODULE or --decline MODULE.
"""


@click.command(help=OPTIMIZE)
@click.option("--module", "modules", multiple=True, help="Only this module; may be given several times.")
@PROFILE
@click.option("--newest", type=click.IntRange(1), help="How many decisions are considered, newest first.")
@click.option(
    "--approve", multiple=True, metavar="MODULE", help="Publish what a run waits with; PUBLISH_APPROVAL=manual."
)
@click.option("--decline", multiple=True, metavar="MODULE", help="Do not publish it.")
@click.option("--show", metavar="RUN", help="Show the report of a run again; `last` is the newest.")
@click.option("--run-id", hidden=True, help="What the scheduler calls the run; one that has ended is shown again.")
@JSON
def optimize(
    modules: tuple[str, ...],
    profile: str | None,
    newest: int | None,
    approve: tuple[str, ...],
    decline: tuple[str, ...],
    show: str | None,
    run_id: str | None,
    as_json: bool,
) -> int:
    """Learn from evidence."""
    from understudy import optimize as learning
    from understudy.nodes.run import report_page

    brain = open_brain()
    if show is not None:
        report = learning.find_run(brain, show)
    elif approve or decline:
        answers = {**dict.fromkeys(approve, True), **dict.fromkeys(decline, False)}
        report = asyncio.run(learning.approve(brain, profile, answers))
    else:
        with watching() as watch:
            options: dict[str, Any] = {"modules": list(modules), "newest": newest, "run_id": run_id}
            report = asyncio.run(learning.optimize(brain, profile=profile, on_news=watch, **options))
    _show_run(report, report_page(brain.settings.optimized_modules_dir, report), as_json)
    return 1 if report["status"] == "error" else 0


def _show_run(report: dict[str, Any], page: Path, as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps(report))
        return
    from understudy.report import summary

    say(*summary(report), f"report: {page}")


@click.command()
@click.option("--module", required=True, help="Which module's examples.")
@PROFILE
@JSON
def dataset(module: str, profile: str | None, as_json: bool) -> None:
    """Show what a module could learn from: examples by source, side and label, and what is left out and why."""
    from understudy.optimize import dataset_report

    show_result(dataset_report(open_brain(), module, profile), as_json)


@click.command()
@click.argument("module", required=False)
@PROFILE
@click.option("--show", is_flag=True, help="Print the instruction in use, and three lines that load it in plain DSPy.")
@click.option("--version", help="With --show: this version instead of the one in use.")
@JSON
def versions(module: str | None, profile: str | None, show: bool, version: str | None, as_json: bool) -> None:
    """List the versions of a module, or of all: what was proved of each, and which one is in use."""
    from understudy.optimize import list_versions, show_version

    brain = open_brain()
    if show:
        if module is None:
            raise click.UsageError("name a MODULE to --show")
        found = show_version(brain, module, profile, version or "latest")
        if as_json:
            click.echo(json.dumps(found))
        else:
            shown = f"{found['instruction']}\n\n# {found['version']} in plain DSPy\n{found['python']}"
            say(*shown.split("\n"))
        return
    rows = list_versions(brain, module, profile)
    if as_json:
        click.echo(json.dumps({"versions": rows}))
        return
    for row in rows:
        gain = f"{row['improvement']:+.3f}" if row["improvement"] is not None else ""
        used = "in use" if row["latest"] else row["status"] or ""
        say(f"{row['module']:<10} {row['version']:<7} {used:<10} {gain:<8} {row['reason'] or ''}".rstrip())


@click.command()
@PROFILE
@click.option("--count", type=click.IntRange(1, 5000), help="How many dreams are wanted; DREAM_COUNT when left out.")
@click.option("--show", is_flag=True, help="Show the last cycle again, and a few of the newest dreams.")
@click.option("--run-id", hidden=True)
@JSON
def dream(profile: str | None, count: int | None, show: bool, run_id: str | None, as_json: bool) -> int:
    """Dream: tell real conversations anew and invent customers, so that rare matters are learnt as well.

    Dreams are marked as such and serve for training only. They come from closed conversations of the training side;
    what resembles a real conversation, holds a customer's data, or does not show what it was to show is dropped and
    counted.
    Ctrl-C or a crash costs a few dreams at most: the same command goes on where it stopped.
    """
    from understudy.dreaming import dream as run
    from understudy.dreaming import last_cycle

    brain = open_brain()
    if show:
        found, dreams = last_cycle(brain, profile)
        show_result({**found, "newest": dreams} if as_json else found, as_json)
        if not as_json:
            for one in dreams:
                _show_dream(one)
        return 0
    with dreaming_bar() as advance:
        found = asyncio.run(run(brain, profile=profile, count=count, cycle=run_id, on_kept=advance))
    show_result(found, as_json)
    return 1 if found["status"] == "error" else 0


def _show_dream(one: dict[str, Any]) -> None:
    say("", f"{one['dream_id']}: {one['kind']}, {one['intent']}")
    for message in one["messages"]:
        labels = ", ".join((message.get("labels") or {}).values()) or message.get("action") or ""
        say(f"  {message['role']:<8} {message['text']}  [{labels}]")


@click.command()
@MODULE
@click.argument("a")
@click.argument("b")
@PROFILE
@JSON
def compare(module: str, a: str, b: str, profile: str | None, as_json: bool) -> None:
    """Compare two versions of a module: scores side by side, and what changed in the instruction."""
    from understudy.optimize import versioning_of

    found = versioning_of(open_brain(), module, profile).compare_versions(module, a, b)
    if as_json:
        click.echo(json.dumps(found))
        return
    for name, one in found["metrics"].items():
        difference = "" if one["difference"] is None else one["difference"]
        say(f"{name:<16} {one['a']!s:>10} {one['b']!s:>10}  {difference}")
    say(*found["instruction_diff"].split("\n"))


@click.command()
@MODULE
@click.argument("version")
@PROFILE
@JSON
def rollback(module: str, version: str, profile: str | None, as_json: bool) -> None:
    """Use an earlier version of a module again, from the next turn on; v0.0 is the hand-written one."""
    from understudy.optimize import roll_back

    show_result(roll_back(open_brain(), module, version, profile), as_json)


COMMANDS = (optimize, dream, dataset, versions, compare, rollback)
