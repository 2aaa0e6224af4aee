"""The commands that compare: A/B tests of two versions, and what a personal touch would have changed."""

import json
from pathlib import Path
from typing import Any

import click

from understudy.checkpoints.private import write_private
from understudy.terminal import JSON, open_brain, say, say_error, show_result, told

NAME = click.argument("name", required=False)
PROFILE = click.option("--profile", help="A profile's name; BRAIN_PROFILE's when left out.")

# In these texts "\b" keeps click from filling the lines anew.
AB = """Let two versions of a module answer the same live turns in shadow, until the evidence says which is better.

\b
  understudy ab start intent --a v0.0 --b v1.0
  understudy ab status

A candidate of `understudy optimize` starts its test by itself, and so does a published version against the one
before. Each closed conversation counts once. The verdict may be looked at as often as you like: it is valid every
time, and the first one stands. Then the winner comes into use if the loser was; a candidate that has not won is
rejected.
"""

SUGGESTIONS = """Show what a personal touch would have changed in the agent's replies; nobody was sent it.

Say whether the one at turn 0 of c1 would have been better:

\b
  understudy label c1 0 was_better=true
"""


@click.group(help=AB)
def ab() -> None:
    """Let two versions of a module answer the same turns."""


@ab.command()
@click.argument("module")
@click.option("--a", default="latest", show_default=True, help="The version in use, or any other.")
@click.option("--b", required=True, help="The version that wants to be better.")
@click.option("--name", help="Of the test; it is given one when left out.")
@PROFILE
@JSON
def start(module: str, a: str, b: str, name: str | None, profile: str | None, as_json: bool) -> None:
    """Begin a test of two versions of MODULE; the next turn is answered by both."""
    from understudy.nodes.ab_life import begin, statistics

    brain = open_brain()
    known = brain.profile(profile).name
    trial = begin(brain, known, module, a, b, name=name)
    found = statistics(brain, trial.name)
    if as_json:
        click.echo(json.dumps(found))
    else:
        say(f"{trial.name}: {trial.variant_a} against {trial.variant_b}; understudy ab status shows how it goes")


@ab.command()
@NAME
@click.option("--picture", type=click.Path(path_type=Path, dir_okay=False), help="Save the course as an SVG picture.")
@JSON
def status(name: str | None, picture: Path | None, as_json: bool) -> None:
    """Show how a test goes, by its NAME or its module; without a name, all of them.

    Scores are means over conversations, 0 to 1. B - A lies in the interval, with 95 % confidence at every time
    (AB_ALPHA). Beside it stand what answers of both cost, and the share of closed conversations without evidence.
    """
    from understudy.drawing import as_svg, course_of, in_terminal
    from understudy.nodes.ab_life import NoTest, find, statistics
    from understudy.nodes.ab_test import look_around
    from understudy.nodes.brain import gym_of

    brain = open_brain()
    look_around(brain)
    gym = gym_of(brain)
    if name is not None or picture is not None:
        found = [statistics(brain, find(brain, name).name)]
    else:
        found = []
        for trial in gym.trials.all():
            try:
                found.append(statistics(brain, trial.name))
            except NoTest as error:
                say_error(f"{trial.name}: {error}")
    if picture is not None:
        with told(picture):
            write_private(picture, as_svg(course_of(gym, found[0])))
    if as_json:
        shown = found[0] if name is not None or picture else {**_foremost(found), "tests": found}
        click.echo(json.dumps(shown))
        return
    if not found:
        say("no A/B test yet; understudy ab start MODULE --a VERSION --b VERSION begins one")
    for one in found:
        say(*in_terminal(course_of(gym, one)).split("\n"), *in_words(one), "")


def _foremost(found: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the newest test that runs, else the newest."""
    return max(found, key=lambda one: (one["ended_at"] is None, one["started_at"]), default={})


def in_words(one: dict[str, Any]) -> list[str]:
    """Say in a few lines how a test goes."""
    conversations = one["conversations"]
    lines = [
        f"{one['test']}, profile {one['profile']}, begun {one['started_at'][:16]}Z ({one['origin']})",
        f"{one['sample_size']} conversations: A {_score(one['mean_score_a'])}, B {_score(one['mean_score_b'])};"
        f" B better in {one['wins_b']}, A in {one['wins_a']}, alike in {one['ties']}; e-value {one['e_value']:g}",
        f"not counted: {conversations['open']} open, {conversations['unscored']} without evidence"
        f" ({one['without_evidence']:.0%} of the closed), {conversations['left_out']} learnt from;"
        f" learnt too late of {one['late']} turns",
        "; ".join(f"{rail['name'].replace('_', ' ')} A {rail['a']:g}, B {rail['b']:g}" for rail in one["guardrails"]),
    ]
    if one["ended_at"]:
        lines.append(f"ended: {one['reason']}; {one['consequence'] or 'what follows is not carried out yet'}")
    return lines


def _score(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


@ab.command()
@NAME
@click.option("--min-sample-size", type=click.IntRange(1), default=30, show_default=True, help="In conversations.")
@JSON
def declare(name: str | None, min_sample_size: int, as_json: bool) -> None:
    """Name the winner of a test, if there is one, and carry out what follows.

    With PUBLISH_APPROVAL=manual a candidate that has won waits for this command.
    """
    from understudy.nodes import ab_life
    from understudy.nodes.ab_test import look_around

    brain = open_brain()
    look_around(brain)
    show_result(ab_life.declare(brain, ab_life.find(brain, name).name, min_sample_size), as_json)


@ab.command()
@NAME
@JSON
def stop(name: str | None, as_json: bool) -> None:
    """End a test that runs, without a verdict; what has been answered is kept."""
    from understudy.nodes import ab_life

    brain = open_brain()
    show_result(ab_life.stop(brain, ab_life.find(brain, name).name), as_json)


@click.command(help=SUGGESTIONS)
@click.argument("conversation", required=False)
@click.option("--status", type=click.Choice(["accepted", "unchanged", "rejected", "fault"]), help="Only these.")
@click.option("--limit", type=click.IntRange(1), default=20, show_default=True, help="How many, the newest first.")
@JSON
def suggestions(conversation: str | None, status: str | None, limit: int, as_json: bool) -> None:
    """Show what a personal touch would have changed."""
    from understudy.nodes.brain import gym_of

    found = gym_of(open_brain()).suggestions(conversation, status, limit)
    if as_json:
        click.echo(json.dumps({"suggestions": found}))
        return
    if not found:
        say("no suggestion; they come with the agent's replies while PERSONALIZE_ENABLED is true")
    for one in found:
        better = {None: "", 1: ", better", 0: ", not better"}[one["was_better"]]
        what = ", ".join(one["modifications"]) or one["reason"] or "nothing changed"
        say(
            f"{one['conversation_id']} {one['turn']}  {one['status']}{better}: {what}",
            f"  sent   {one['original_message']}",
        )
        if one["status"] in ("accepted", "rejected"):
            say(f"  would  {one['personalized_message']}")
        if one["status"] == "rejected":
            say(f"  but    {one['reason']}")


COMMANDS = (ab, suggestions)
