"""Is it ready? What each module lacks, what has been observed, and what happens next."""

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

from nicegui import ui

from understudy.checkpoints.host import losses
from understudy.graph.due import outlook
from understudy.nodes.brain import Brain, gym_of
from understudy.nodes.modules import MODULES
from understudy.nodes.response import RESPONSE
from understudy.readiness import BLOCK, LEAST, MOST, MOST_FAULTS, Point, Readiness, readiness, rests_on
from understudy.reviewing import QUESTIONS
from understudy.server.pages.figures import counted, percent, when
from understudy.server.pages.frame import Tag, asked, empty, facts, heading, link, page, section
from understudy.server.pages.jobs import TITLES, next_of
from understudy.showing import printable
from understudy.status import hours_to_drain

LOST = {
    "locked": "another program held the gym's file",
    "full": "the disk was full",
    "unusable": "the gym's file could not be used",
    "refused": "what was given did not have its form",
    "unknown": "the conversation was not known",
    "inbox_full": "INBOX_MAX turns waited already",
    "closed": "the host had closed understudy",
    "failed": "a defect of understudy",
}

ABOUT = {
    "conflict": "Does the message show a conflict, and which?",
    "intent": "What does the customer want, and what should the agent do next?",
    "quality": "How satisfied will the customer be at the end?",
    "goals": "What does the customer want to reach, and what does the agent have to know for it?",
    "response": "What would be a good reply?",
}
"""The question that each module answers."""

LIKENESS = (
    "Here agreement is how like the reply is, word for word, to the one that was sent. A good reply may have other"
    " words, so this hardly gets as far as {needed:.2f}, and cannot say whether a reply is good. A person can: read the"
    " replies beside the chats, and let an A/B test compare two versions."
)
"""What is said of the module `response`."""

WIDTH, HEIGHT, EDGE = 320, 110, 26
"""Of a course, in pixels of its picture; the edge is left for numbers."""


@dataclass(frozen=True)
class _Found:
    profile: str
    modules: Sequence[Readiness]
    counts: dict[str, int]
    hours: float | None
    lost: dict[str, int]
    jobs: list[dict[str, Any]]


@page("/")
async def overview() -> None:
    """Show whether the brain can be trusted, and what is missing."""
    found = await asked(_look)
    if not found.counts["decisions"] and not found.counts["backlog"]:
        heading("Overview")
        with ui.element("section"):
            empty(
                "Nothing has been observed yet.",
                "Embed understudy in your chat app (five lines, in the README), or read recorded conversations:"
                " `understudy replay conversations.jsonl`. `understudy demo` shows the whole story on invented ones.",
            )
        return
    heading(
        sentence(found.modules),
        f"{found.profile}: each module answers a question about every customer message. Agreement is how well its"
        f" answers fit what turned out to be true, from 0 to 1, in the last {MOST} closed conversations with evidence"
        f" ({LEAST} are needed). It is partly luck: the solid part of a bar is what it is at least (95 % sure), which"
        " has to reach the mark. People are asked about hard turns first, so their labels make it lower than it is on"
        " average.",
    )
    with ui.element("div").classes("cards"):
        for module in found.modules:
            _module(module)
    _guarantee(found)
    with section("What comes next"):
        facts({TITLES[job["name"]]: next_of(job) for job in found.jobs})
        with ui.element("div").classes("row ways"):
            link("Jobs", "/jobs")


def _look(brain: Brain) -> _Found:
    gym, profile = gym_of(brain), brain.profile(None)
    counts = gym.counts()
    return _Found(
        profile=profile.title or profile.name,
        modules=list(readiness(brain).values()),
        counts=counts,
        hours=hours_to_drain(brain, counts["backlog"]),
        lost=losses(gym),
        jobs=outlook(gym, brain.settings, profile.name),
    )


def sentence(modules: Sequence[Readiness]) -> str:
    """Say whether the brain can be trusted, and what is missing where."""
    lacking: dict[str, list[str]] = {}
    for one in modules:
        lacking.setdefault(_lack(one), []).append(one.module)
    ready = lacking.pop("", [])
    if not lacking:
        return "Ready: every module can be trusted."
    parts = [
        f"{what} ({'all modules' if len(names) == len(modules) else ', '.join(names)})"
        for what, names in lacking.items()
    ]
    good = f"; ready: {', '.join(ready)}" if ready else ""
    return f"Not ready yet: {', '.join(parts)}{good}."


def _lack(one: Readiness) -> str:
    """Return what a module lacks most, nothing if it is ready."""
    if one.ready:
        return ""
    if one.conversations < LEAST:
        return "too few closed conversations with evidence"
    if (one.lower or 0) < one.ready_at:
        return "replies unlike those that were sent" if one.module == RESPONSE.name else "too little agreement"
    return "too many turns without an answer" if one.fault_rate >= MOST_FAULTS else "an A/B test lost"


def _module(one: Readiness) -> None:
    with ui.element("section"):
        with ui.element("div").classes("row apart"):
            Tag("h2", one.module)
            Tag("span", "ready" if one.ready else "not yet").classes(f"tag {'good' if one.ready else 'warn'}")
        Tag("p", ABOUT[one.module]).classes("about")
        for what in one.missing:
            Tag("p", f"{what[0].upper()}{what[1:]}.").classes("warn missing")
        if one.agreement is not None and one.lower is not None:
            _gauge(one)
            Tag("p", rests_on(one.sources)).classes("about")
            ui.html(_course(one.course, one.ready_at), sanitize=False).classes("plot")
        if one.module == RESPONSE.name:
            Tag("p", LIKENESS.format(needed=one.ready_at)).classes("about")
        failed = f"{percent(one.fault_rate, 1)} of {counted(one.turns, 'turn')}" if one.turns else "none looked at"
        facts({"Version in use": one.version, "Without an answer": failed, "A/B test": one.ab or "none yet"})
        with ui.element("div").classes("row ways"):
            for text, path in _ways(one.module).items():
                link(text, path)


def _ways(module: str) -> dict[str, str]:
    """Return where there is more of a module, and where a person can help it."""
    field = next((name for name in MODULES[module].main_fields if name in QUESTIONS), None)
    ways = {"Label turns": f"/review?field={field}"} if field else {"Read conversations": "/conversations"}
    return {**ways, "Versions": f"/versions/{module}", "A/B tests": "/ab"}


def _gauge(one: Readiness) -> None:
    """Draw an agreement with its lower bound against what is needed."""
    mean, lower = one.agreement or 0.0, one.lower or 0.0
    said = f"Agreement {mean:.2f} in {counted(one.conversations, 'conversation')}, at least {lower:.2f}"
    with ui.element("div").classes("gauge").props(f'role=img aria-label="{said}; needed {one.ready_at:.2f}"'):
        ui.element("i").classes("mean").style(f"width: {mean:.1%}")
        ui.element("i").style(f"width: {lower:.1%}")
        ui.element("i").classes("needed").style(f"left: {one.ready_at:.1%}")
    Tag("p", f"{said}.")


def _course(points: Sequence[Point], ready_at: float) -> str:
    """Return the course of an agreement as SVG: a point for each block of conversations, a line where versions change.

    Nothing in it comes from a conversation.
    """
    right, bottom = WIDTH - 8, HEIGHT - 18
    step = (right - EDGE) / max(1, len(points) - 1)

    def x(place: int) -> float:
        return EDGE + step * place if len(points) > 1 else (EDGE + right) / 2

    def y(value: float) -> float:
        return bottom - value * (bottom - 14)

    parts = [_line(EDGE, y(value), right, y(value), "grid") for value in (0, 0.5, 1)]
    parts += [f'<text x="{EDGE - 5}" y="{y(v) + 4:.1f}" text-anchor="end">{v:g}</text>' for v in (0, 0.5, 1)]
    parts.append(_line(EDGE, y(ready_at), right, y(ready_at), "needed"))
    before = points[0].versions[0] if points else ""
    for place, point in enumerate(points):
        if point.versions[0] != before:
            before = point.versions[0]
            parts.append(_line(x(place) - step / 2, 14, x(place) - step / 2, bottom, "change"))
            parts.append(
                f'<text x="{x(place) - step / 2:.1f}" y="10" text-anchor="middle">{escape(printable(before))}</text>'
            )
    spots = " ".join(f"{x(place):.1f},{y(point.agreement):.1f}" for place, point in enumerate(points))
    parts.append(f'<polyline points="{spots}"/>')
    for place, point in enumerate(points):
        told = (
            f"{when(point.begun)} to {when(point.ended)}: {point.agreement:.2f}"
            f" in {point.conversations} conversations, {', '.join(point.versions)}"
        )
        parts.append(f'<circle cx="{x(place):.1f}" cy="{y(point.agreement):.1f}" r="3.5">')
        parts.append(f"<title>{escape(printable(told))}</title></circle>")
    parts.append(f'<text x="{EDGE}" y="{HEIGHT - 4}">{when(points[0].begun)}</text>')
    parts.append(f'<text x="{right}" y="{HEIGHT - 4}" text-anchor="end">{when(points[-1].ended)}</text>')
    label = (
        f"Agreement by {BLOCK} conversations, the oldest first: {', '.join(f'{one.agreement:.2f}' for one in points)}."
        f" The dashed line is what is needed, {ready_at:.2f}."
    )
    return f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{label}">{"".join(parts)}</svg>'


def _line(x1: float, y1: float, x2: float, y2: float, kind: str) -> str:
    return f'<line class="{kind}" x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}"/>'


def _guarantee(found: _Found) -> None:
    backlog = found.counts["backlog"]
    waits = "nothing" if not backlog else counted(backlog, "message")
    if backlog:
        waits += f", {found.hours:.1f} h of work" if found.hours is not None else ", for how long is not known yet"
    with section("In shadow", "No part of understudy can send anything: nothing that it says reaches a customer."):
        with ui.element("div").classes("big"):
            for number, what in (
                (f"{found.counts['decisions'] + backlog:,}", "customer messages observed"),
                (f"{found.counts['decisions']:,}", "decisions written down"),
                ("0", "sent to customers"),
            ):
                with ui.element("div"):
                    Tag("b", number)
                    Tag("span", what)
        facts({"Still to be read": waits, "Lost": _lost(found.lost)})
        with ui.element("div").classes("row ways"):
            link("Conversations", "/conversations")


def _lost(lost: dict[str, Any]) -> str:
    if not lost:
        return "nothing that the chat app has shown"
    return "; ".join(f"{counted(calls, 'call')}, as {LOST.get(reason, reason)}" for reason, calls in lost.items())
