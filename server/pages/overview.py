"""Is it ready? What each module lacks, what has been observed, and what happens next."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

from nicegui import ui

from understudy.checkpoints.host import losses
from understudy.graph.due import in_words, outlook
from understudy.nodes.ab_life import gym_of
from understudy.nodes.brain import Brain
from understudy.readiness import BLOCK, LEAST, MOST, Point, Readiness, readiness, rests_on
from understudy.server.pages.frame import Tag, asked, empty, facts, page, section
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

MOMENT = re.compile(r"(\d{4}-\d\d-\d\d)T(\d\d:\d\d):[\d.]+Z")
MINUTE = r"\1 \2 UTC"
"""How a moment is shown."""

WIDTH, HEIGHT, EDGE = 360, 108, 26
"""Of a course, in pixels of its picture; the edge is left for numbers."""


@dataclass(frozen=True)
class _Found:
    profile: str
    modules: Sequence[Readiness]
    counts: dict[str, int]
    hours: float | None
    lost: dict[str, int]
    jobs: list[str]


@page("/")
async def overview() -> None:
    """Show whether the brain can be trusted, and what is missing."""
    found = await asked(_look)
    if not found.counts["decisions"] and not found.counts["backlog"]:
        empty(
            "Nothing has been observed yet.",
            "Embed understudy in your chat app (five lines, in the README), or read recorded conversations:"
            " `understudy replay conversations.jsonl`. `understudy demo` shows the whole story on invented ones.",
        )
        return
    with ui.element("section").classes("verdict"):
        Tag("h1", _sentence(found.modules))
        Tag(
            "p",
            f"Profile {found.profile}. Judged by the last {MOST} closed conversations with evidence;"
            f" {LEAST} are needed. In a bar the dark part is what the agreement surely is, the line what it has to be."
            " People label hard turns first in the review: agreement with such labels is lower than the average.",
        ).classes("about")
    with ui.element("div").classes("modules"):
        for module in found.modules:
            _module(module)
    _guarantee(found)
    with section("What happens next"):
        for line in found.jobs:
            Tag("p", line)


def _look(brain: Brain) -> _Found:
    gym, profile = gym_of(brain), brain.profile(None)
    counts = gym.counts()
    jobs = outlook(gym, brain.settings, profile.name)
    return _Found(
        profile=profile.title or profile.name,
        modules=list(readiness(brain).values()),
        counts=counts,
        hours=hours_to_drain(brain, counts["backlog"]),
        lost=losses(gym),
        jobs=[f"{job['name']}: {MOMENT.sub(MINUTE, in_words(job))}" for job in jobs],
    )


def _sentence(modules: Sequence[Readiness]) -> str:
    ready = [one.module for one in modules if one.ready]
    if len(ready) == len(modules):
        return "Ready: every module can be trusted."
    if not ready:
        return "Not ready yet: no module can be trusted so far."
    return f"Not ready yet: {len(ready)} of {len(modules)} modules can be trusted ({', '.join(ready)})."


def _module(one: Readiness) -> None:
    with ui.element("section").classes("module"):
        with ui.element("div").classes("title"):
            Tag("h2", one.module)
            Tag("span", "ready" if one.ready else "not yet").classes("good" if one.ready else "warn")
        for what in one.missing:
            Tag("p", f"{what[0].upper()}{what[1:]}.").classes("missing")
        if one.agreement is not None and one.lower is not None:
            _gauge(one)
            Tag("p", rests_on(one.sources)).classes("about")
            ui.html(_course(one.course, one.ready_at), sanitize=False).classes("course")
        facts(
            {
                "version in use": one.version,
                "answers that failed": f"{one.fault_rate:.1%} of {one.turns} turns" if one.turns else "none looked at",
                "A/B test": one.ab or "none yet",
            }
        )


def _gauge(one: Readiness) -> None:
    """Draw an agreement with its lower bound against what is needed."""
    mean, lower = one.agreement or 0.0, one.lower or 0.0
    label = f"agreement {mean:.2f}, at least {lower:.2f}, needed {one.ready_at:.2f}"
    with ui.element("div").classes("gauge").props(f'role=img aria-label="{label}"'):
        ui.element("i").classes("mean").style(f"width: {mean:.1%}")
        ui.element("i").classes("sure").style(f"width: {lower:.1%}")
        ui.element("i").classes("needed").style(f"left: {one.ready_at:.1%}")
    Tag("p", f"Agreement {mean:.2f} in {one.conversations} conversations, surely {lower:.2f} (95 %)").classes(
        "num-line"
    )


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
            parts.append(f'<text x="{x(place) - step / 2:.1f}" y="10" text-anchor="middle">{escape(before)}</text>')
    spots = " ".join(f"{x(place):.1f},{y(point.agreement):.1f}" for place, point in enumerate(points))
    parts.append(f'<polyline points="{spots}"/>')
    for place, point in enumerate(points):
        told = (
            f"{point.begun[:16].replace('T', ' ')} to {point.ended[:16].replace('T', ' ')} UTC: {point.agreement:.2f}"
            f" in {point.conversations} conversations, {', '.join(point.versions)}"
        )
        parts.append(f'<circle cx="{x(place):.1f}" cy="{y(point.agreement):.1f}" r="3.5">')
        parts.append(f"<title>{escape(told)}</title></circle>")
    parts.append(f'<text x="{EDGE}" y="{HEIGHT - 4}">{escape(points[0].begun[:10])}</text>')
    parts.append(f'<text x="{right}" y="{HEIGHT - 4}" text-anchor="end">{escape(points[-1].ended[:10])}</text>')
    label = f"agreement by {BLOCK} conversations, the oldest first; the dashed line is what is needed"
    return f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{label}">{"".join(parts)}</svg>'


def _line(x1: float, y1: float, x2: float, y2: float, kind: str) -> str:
    return f'<line class="{kind}" x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}"/>'


def _guarantee(found: _Found) -> None:
    backlog = found.counts["backlog"]
    waits = "nothing" if not backlog else f"{backlog:,} messages"
    if backlog:
        waits += f", {found.hours:.1f} hours of work" if found.hours is not None else ", for how long is not known yet"
    with section("In shadow", "No part of understudy can send anything: nothing that it says reaches a customer."):
        with ui.element("div").classes("figures"):
            for number, what in (
                (f"{found.counts['decisions'] + backlog:,}", "customer messages observed"),
                (f"{found.counts['decisions']:,}", "decisions written down"),
                ("0", "sent to customers"),
            ):
                with ui.element("div"):
                    Tag("b", number)
                    Tag("span", what)
        facts({"still to be read": waits, "calls that wrote nothing": _lost(found.lost)})


def _lost(lost: dict[str, Any]) -> str:
    if not lost:
        return "none"
    return "; ".join(f"{calls:,}, as {LOST.get(reason, reason)}" for reason, calls in lost.items())
