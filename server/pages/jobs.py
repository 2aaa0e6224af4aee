"""Learning, dreaming, erasing: what runs, what comes next and why, what waits for a person, how the last runs went."""

import asyncio
from typing import Any, NamedTuple
from urllib.parse import quote, urlencode

from nicegui import ui

from understudy.checkpoints.jobs import DREAM, OPTIMIZE, RETENTION
from understudy.graph.due import outlook
from understudy.nodes.brain import Brain, gym_of
from understudy.optimize import waiting_runs
from understudy.report import diff
from understudy.server.jobs import STARTED, Kind
from understudy.server.jobs import runs as runs_of
from understudy.server.pages.acting import act, button, confirmed
from understudy.server.pages.compared import changes
from understudy.server.pages.figures import cell, counted, lasted, number, when
from understudy.server.pages.frame import Tag, asked, empty, heading, link, page, section
from understudy.server.running import answer_run

SHOWN = 20
"""Runs on a page."""

REFRESH_SECONDS = 3.0

TITLES = {OPTIMIZE: "Learning", DREAM: "Dreaming", RETENTION: "Erasing what is too old"}
ABOUT = {
    OPTIMIZE: "Writes better instructions for the modules from evidence, and tries them on unseen conversations.",
    DREAM: "Invents conversations about rare matters, to learn from.",
    RETENTION: "Erases conversations in which nothing was said for RL_GYM_RETENTION_DAYS.",
}
COMMANDS = {OPTIMIZE: "understudy optimize", DREAM: "understudy dream", RETENTION: "understudy forget --expired"}
DOES: dict[str, tuple[Kind, str]] = {OPTIMIZE: ("optimize", "Learn now"), DREAM: ("dream", "Dream now")}
STATUSES = {"success": "good", "error": "bad", "interrupted": "bad", "running": "warn", "waiting": "warn"}


class Work(NamedTuple):
    """The jobs, the run that waits and what it asks, and the last runs; one more than are shown if there are older."""

    jobs: list[dict[str, Any]]
    waits: str
    asks: list[dict[str, Any]]
    runs: list[dict[str, Any]]


@page("/jobs")
async def jobs(before: str | None = None) -> None:
    """Show the jobs; what changes while one looks is drawn anew."""
    heading("Jobs", "They run one at a time and in a process of their own: the shadow goes on meanwhile.")
    place, seen = ui.element("div"), [None]

    async def draw() -> None:
        found: Any = await asked(lambda brain: work_of(brain, before))
        if found == seen[0]:
            return
        seen[0] = found
        place.clear()
        with place:
            _draw(found, draw)

    await draw()
    ui.timer(REFRESH_SECONDS, draw, immediate=False)


def work_of(brain: Brain, before: str | None = None) -> Work:
    """Return what there is to see; of the runs those that are older than the run `before`."""
    gym, profile = gym_of(brain), brain.profile(None).name
    shown = runs_of(brain, SHOWN + 1, before)
    newest = runs_of(brain, SHOWN) if before else shown
    at_work = {run["kind"]: run["started_at"] for run in newest if run["status"] == "running"}
    found = [
        {**job, "last_status": "running", "last_run": at_work[job["name"]], "reason": None}
        if job["name"] in at_work
        else job
        for job in outlook(gym, brain.settings, profile)
    ]
    unfinished = None if OPTIMIZE in at_work else gym.runs.unfinished(profile)  # one at work has its answer
    asks = asyncio.run(waiting_runs(gym, [unfinished])) if unfinished else {}
    return Work(found, unfinished or "", asks.get(unfinished or "", []), shown)


def _draw(found: Work, draw: Any) -> None:
    for ask in found.asks:
        _ask(found.waits, ask, draw)
    with ui.element("div").classes("cards"):
        for job in found.jobs:
            _job(job, draw)
    with section("Last runs"):
        _runs(found)


def _job(job: dict[str, Any], draw: Any) -> None:
    with section(TITLES[job["name"]]):
        Tag("p", ABOUT[job["name"]]).classes("about")
        Tag("p", next_of(job)).classes("verdict")
        if job["last_status"] not in (None, "running"):
            Tag("p", f"Last run {when(job['last_run'])}: {job['last_status']}").classes("about")
        with ui.element("p").classes("about"):
            Tag("span", "By hand: ")
            Tag("code", COMMANDS[job["name"]])
        if job["name"] in DOES:
            kind, text = DOES[job["name"]]
            with ui.element("div").classes("acts"):
                button(text, lambda: _start(kind, draw)).set_enabled(job["last_status"] != "running")


async def _start(kind: Kind, draw: Any) -> None:
    def start(brain: Brain) -> str:
        begun = STARTED.start(brain, kind)
        return f"{TITLES[kind]} of profile {begun.profile} {'goes on' if begun.resumed else 'has begun'}."

    await act(start)
    await draw()


def next_of(job: dict[str, Any]) -> str:
    """Say when a job runs next, and what hinders it or came of its last run."""
    return f"{_next(job)} ({job['reason']})" if job["reason"] else _next(job)


def _next(job: dict[str, Any]) -> str:
    missing, at = job.get("decisions_missing"), job["next_run"]
    if job["last_status"] == "running":
        return f"Runs since {when(job['last_run'])}"
    if at:
        return f"Next run {when(at)}"
    if missing is None:
        return "No next run"
    return f"Next run after {counted(missing, 'more decision')}" if missing else "Due"


def _ask(run_id: str, ask: dict[str, Any], draw: Any) -> None:
    module, instruction = str(ask.get("module")), ask.get("instruction") or {}
    gain, least = ask.get("improvement"), (ask.get("interval") or [None])[0]
    with section(
        f"Publish a new version of {module}?",
        f"It is better by {number(gain, 3, plus=True)}, at least by {number(least, 3, plus=True)}, on"
        f" {number(ask.get('sealed_conversations'))} conversations that it had never seen. The run waits.",
    ):
        changes(diff(str(instruction.get("old") or ""), str(instruction.get("new") or "")))
        with ui.element("div").classes("acts"):
            button("Decline", lambda: _answer(run_id, module, False, draw))
            button("Approve", lambda: _answer(run_id, module, True, draw), "first")


async def _answer(run_id: str, module: str, yes: bool, draw: Any) -> None:
    question = f"Publish the new version of {module}?" if yes else f"Decline the new version of {module}?"
    then = (
        "It answers conversations that begin a turn from now on, and the one before beside it, in an A/B test."
        if yes
        else "What is in use stays. The new version is not kept."
    )
    if await confirmed(
        question, f"{then} The run then goes on, which may take some time.", "Approve" if yes else "Decline"
    ):
        await act(lambda brain: answered(brain, run_id, module, yes))
        await draw()


def answered(brain: Brain, run_id: str, module: str, yes: bool) -> str:
    """Let the run go on that waits for a word on a module, and say so."""
    answer_run(brain, run_id, {module: yes})
    return f"{module}: the run has its answer, and goes on."


def _runs(found: Work) -> None:
    if not found.runs:
        empty(
            "Nothing has run yet.",
            "`understudy optimize` learns from what has been observed; by itself that comes after"
            " RL_GYM_OPTIMIZE_INTERVAL decisions, where `understudy serve` or `langgraph dev` runs.",
        )
        return
    with ui.element("div").classes("wide"), ui.element("table").classes("stack"):
        with ui.element("thead"), ui.element("tr"):
            for title in ("Job", "Began", "Took", "Status", "What came of it", ""):
                Tag("th", title).props("scope=col")
        with ui.element("tbody"):
            for run in found.runs[:SHOWN]:
                _run(run)
    if len(found.runs) > SHOWN:
        with ui.element("div").classes("row ways"):
            link("Older runs", f"/jobs?{urlencode({'before': found.runs[SHOWN - 1]['run_id']})}")


def _run(run: dict[str, Any]) -> None:
    with ui.element("tr"):
        Tag("th", f"{TITLES[run['kind']]}, {run['profile']}").props("scope=row")
        cell("Began", when(run["started_at"])).classes("once")
        cell("Took", lasted(run["started_at"], run["ended_at"])).classes("once")
        with ui.element("td"):
            Tag("span", run["status"]).classes(f"tag {STATUSES.get(run['status'], '')}")
        cell("What came of it", _came_of(run))
        with ui.element("td"):
            if run["kind"] == OPTIMIZE and run["ended_at"]:
                link("Report", f"/reports/{quote(run['run_id'], safe='')}", new_tab=True)


def _came_of(run: dict[str, Any]) -> str:
    if run["status"] == "waiting":
        return f"it asks a person about {', '.join(run['waits_for'])}"
    if run["ended_at"] is None:
        return run["reason"] or ""
    made = run["made"] or 0
    said = f"{counted(made, 'module')} got better" if run["kind"] == OPTIMIZE else f"{counted(made, 'dream')} kept"
    return f"{said}; {run['reason']}" if run["reason"] else said
