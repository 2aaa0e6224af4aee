"""A/B tests: what the evidence says of two versions that answer the same turns, and what one may do about it."""

import time
from typing import Any, NamedTuple
from urllib.parse import quote, urlencode

from fastapi import HTTPException, Response
from nicegui import app, ui

from understudy.drawing import NARROW, WIDTH, as_svg, course_of
from understudy.nodes import ab_life
from understudy.nodes.ab_life import LEAST_CONVERSATIONS, NoTest, begin, statistics
from understudy.nodes.ab_test import LOOK_SECONDS, look_around
from understudy.nodes.brain import Brain, gym_of, own_brain
from understudy.nodes.modules import PROGRAMS
from understudy.server.pages.acting import act, button, chooser, confirmed
from understudy.server.pages.figures import counted, number, percent, when
from understudy.server.pages.frame import ROOT, Tag, asked, empty, facts, heading, link, page, section
from understudy.showing import printable

ENDED = 10
"""Ended tests on a page."""

RAILS = {"fault_rate": ("Answers that failed", 100, " %", 1), "latency_ms": ("Time for an answer", 1, " ms", 1)}
"""How a guardrail is called, by what it is multiplied, its unit, digits behind the point; tokens are as they are."""


class Tests(NamedTuple):
    """Running and ended tests, what cannot be read of others, where the older ones begin, and versions by module."""

    running: list[dict[str, Any]]
    ended: list[dict[str, Any]]
    damaged: dict[str, str]
    older: int | None
    versions: dict[str, list[str]]


@page("/ab")
async def tests(skip: int = 0) -> None:
    """Show the tests that run, those that have ended, and a way to begin one."""
    heading(
        "A/B tests",
        "Two versions of a module answer the same live turns, in shadow; A is the one in use when the test begins by"
        " itself. Every answer gets a score from 0 to 1 once it is known what was right, and B\u00a0-\u00a0A is by how"
        " much B's are better. Each closed conversation counts once. Look as often as you like: the first verdict"
        " stands.",
    )
    place = ui.element("div")

    async def draw() -> None:
        found = await asked(lambda brain: trials_of(brain, max(0, skip)))
        place.clear()
        with place:
            _draw(found, draw)

    await draw()


def trials_of(brain: Brain, skip: int = 0) -> Tests:
    """Return the tests of the gym, of the ended ones a page."""
    gym = gym_of(brain)
    if time.monotonic() - gym.trials.looked > LOOK_SECONDS:
        look_around(brain, pages=1)
    trials = gym.trials.all()
    ended = sorted((one for one in trials if one.ended_at), key=lambda one: str(one.ended_at), reverse=True)
    shown = [one for one in trials if not one.ended_at] + ended[skip : skip + ENDED]
    known: list[dict[str, Any]] = []
    damaged = {}
    for trial in shown:
        try:
            known.append(statistics(brain, trial.name))
        except NoTest as error:
            damaged[trial.name] = str(error)
    versioning = brain.versioning(brain.profile(None).name)
    older = skip + ENDED if len(ended) > skip + ENDED else None
    return Tests(
        [one for one in known if not one["ended_at"]], [one for one in known if one["ended_at"]], damaged, older,
        {name: versioning.list_versions(name) for name in PROGRAMS},
    )  # fmt: skip


def verdict_of(one: dict[str, Any]) -> str:
    """Say in a sentence what a test has shown."""
    if one["ended_at"]:
        return f"Ended: {one['reason']}."
    if not one["sample_size"]:
        return "No closed conversation has been compared yet."
    low, high = one["interval"]
    return (
        f"Not decided yet, after {counted(one['sample_size'], 'conversation')} of at most {one['max_sample_size']:,}:"
        f" B may be up to {max(0, -low):.3f} worse than A, or up to {max(0, high):.3f} better."
    )


@app.get("/ab/course")
def course(test: str, narrow: bool = False) -> Response:
    """Draw the course of a test, for a phone too."""
    brain = own_brain()
    try:
        picture = as_svg(course_of(gym_of(brain), statistics(brain, test)), NARROW if narrow else WIDTH)
    except NoTest as error:
        raise HTTPException(404, str(error)) from None
    policy = "default-src 'none'; style-src 'unsafe-inline'"
    return Response(picture, media_type="image/svg+xml", headers={"content-security-policy": policy})


def _draw(found: Tests, draw: Any) -> None:
    testable = [name for name, known in found.versions.items() if len(known) > 1]
    for name, error in found.damaged.items():
        with section(name):
            Tag("p", error).classes("bad")
    for one in found.running:
        _test(one, draw)
    if not found.running:
        with section("No test runs"):
            empty(
                "A new version of a module begins its test by itself.",
                "`understudy optimize` makes versions"
                f"{'; or let two that there are answer side by side, below' if testable else ''}.",
            )
    if testable:
        _start(testable, found.versions, draw)
    for one in found.ended:
        _test(one, draw)
    if found.older is not None:
        link("Older tests", f"/ab?skip={found.older}")


def _test(one: dict[str, Any], draw: Any) -> None:
    a, b = one["variant_a"], one["variant_b"]
    with section(f"{one['module'] or one['test']}: {a} against {b}"):
        with ui.element("div").classes("row apart"):
            Tag("p", verdict_of(one)).classes("verdict")
            with ui.element("div").classes("row"):
                _buttons(one, draw)
        if one["consequence"]:
            Tag("p", f"What followed: {one['consequence']}.").classes("about")
        with ui.element("div").classes("picture"):
            if one["sample_size"]:
                source = f"{ROOT}/ab/course?test={quote(one['test'], safe='')}"
                with ui.element("div").classes("course"), ui.element("picture"):
                    ui.element("source").props(f'media="(max-width: 640px)" srcset={source}&narrow=true')
                    picture = ui.element("img").props(f"src={source} loading=lazy")
                picture.props["alt"] = printable(f"The course of the test. {verdict_of(one)}")
            with ui.element("div"):
                _figures(one)
        with ui.element("div").classes("row ways"):
            link("Conversations, with both answers beside each turn", f"/conversations?profile={quote(one['profile'])}")
            if one["module"]:
                link("What tells the versions apart", _apart(one))


def _apart(one: dict[str, Any]) -> str:
    query = {"profile": one["profile"], "a": one["variant_a"], "b": one["variant_b"]}
    return f"/versions/{quote(one['module'])}?{urlencode(query)}"


def _figures(one: dict[str, Any]) -> None:
    if one["sample_size"] or any(rail[side] for rail in one["guardrails"] for side in ("a", "b")):
        _table(one)
    conversations = one["conversations"]
    facts(
        {
            "Equally good": f"in {counted(one['ties'], 'conversation')}",
            "Not counted": f"{conversations['open']:,} still open, {conversations['unscored']:,} without evidence"
            f" ({percent(one['without_evidence'])} of those that closed), {conversations['left_out']:,} that a version"
            " has learnt from",
            "Begun": f"{when(one['started_at'])}, {'by hand' if one['origin'] == 'hand' else 'by itself'}",
            **({"Ended": when(one["ended_at"])} if one["ended_at"] else {}),
            "Name": f"{one['test']}, profile {one['profile']}",
        }
    )


def _table(one: dict[str, Any]) -> None:
    with ui.element("table"):
        with ui.element("thead"), ui.element("tr"):
            Tag("th")
            Tag("th", f"A: {one['variant_a']}").classes("num").props("scope=col")
            Tag("th", f"B: {one['variant_b']}").classes("num").props("scope=col")
        with ui.element("tbody"):
            _line("Mean score (0 to 1)", number(one["mean_score_a"], 3), number(one["mean_score_b"], 3))
            _line("Better in conversations", f"{one['wins_a']:,}", f"{one['wins_b']:,}")
            for rail in one["guardrails"]:
                name, by, unit, digits = RAILS.get(rail["name"], (f"{rail['name'].capitalize()} an answer", 1, "", 0))
                a, b = (f"{number(by * rail[side], digits)}{unit}" for side in ("a", "b"))
                _line(name, a, b, rail["ok"] is False)


def _line(name: str, a: str, b: str, bad: bool = False) -> None:
    with ui.element("tr"):
        Tag("th", f"{name} (too much worse)" if bad else name).props("scope=row").classes("bad" if bad else "")
        Tag("td", a).classes("num")
        Tag("td", b).classes("num")


def _buttons(one: dict[str, Any], draw: Any) -> None:
    name, waits = one["test"], str(one["consequence"] or "").startswith("waits for a person")
    if one["is_significant"] and (waits or not one["ended_at"]) and one["module"]:
        better = one["variant_b"] if one["recommended_winner"] == "B" else one["variant_a"]

        async def declare() -> None:
            if await confirmed(
                f"Declare {better} the winner?",
                f"The test ends. If the other version of {one['module']} is in use, {better} takes its place for"
                " conversations that begin a turn from now on, unless it fails more often or is much slower.",
                "Declare the winner",
            ):
                await act(lambda brain: _declared(brain, name))
                await draw()

        button("Declare the winner", declare, "first")
    if not one["ended_at"]:

        async def stop() -> None:
            if await confirmed(
                "Stop this test?",
                "It ends without a verdict, and nothing changes what is in use. What has been answered is kept; a test"
                " of the same versions would begin at zero.",
                "Stop the test",
                "danger",
            ):
                await act(lambda brain: _stopped(brain, name))
                await draw()

        button("Stop", stop)


def _declared(brain: Brain, name: str) -> str:
    look_around(brain)
    found = ab_life.declare(brain, name, LEAST_CONVERSATIONS)
    return f"{found['test']}: {found['consequence'] or found['reason']}"


def _stopped(brain: Brain, name: str) -> str:
    look_around(brain)
    found = ab_life.stop(brain, name)
    return f"{found['test']}: {found['reason']}; {found['consequence']}"


def _start(testable: list[str], versions: dict[str, list[str]], draw: Any) -> None:
    chosen = {"module": testable[0]}
    with section("Begin a test", "The next turn is answered by both. B is the one that wants to be better."):
        with ui.element("div").classes("fields"):
            chooser("Module", testable, testable[0], lambda module: choose(module))
            sides = ui.element("div").classes("row")

            def choose(module: str) -> None:
                known = versions[module]
                chosen.update(module=module, a=known[0], b=known[-1])
                sides.clear()
                with sides:
                    chooser("A", known, known[0], lambda version: chosen.update(a=version))
                    chooser("B", known, known[-1], lambda version: chosen.update(b=version))

            async def start() -> None:
                if await act(lambda brain: _begun(brain, chosen["module"], chosen["a"], chosen["b"])):
                    await draw()

            choose(testable[0])
            button("Begin the test", start, "first")


def _begun(brain: Brain, module: str, a: str, b: str) -> str:
    trial = begin(brain, brain.profile(None).name, module, a, b)
    return f"{trial.name}: {trial.variant_a} against {trial.variant_b}; the next turn is answered by both"
