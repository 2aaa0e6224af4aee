"""The versions of each module: what was proved of them, which one is in use, and how to go back."""

from typing import Any, NamedTuple
from urllib.parse import quote, urlencode

from fastapi import HTTPException
from fastapi.responses import HTMLResponse
from nicegui import app, ui

from understudy.checkpoints.versioning import BASELINE
from understudy.nodes.brain import Brain, own_brain
from understudy.nodes.modules import PROGRAMS
from understudy.optimize import NoRun, find_run, roll_back, versioning_of
from understudy.report import page as report_page
from understudy.server.pages.acting import act, button, confirmed
from understudy.server.pages.figures import bar, cell, number, when
from understudy.server.pages.frame import Tag, asked, empty, heading, link, page, section

REPORT_POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:; form-action 'none'; base-uri 'none'"

KINDS = {"published": "good", "candidate": "warn", "rejected": "bad"}


class Module(NamedTuple):
    """The versions of a module, the oldest first, each with its metadata; and how it came to the one in use."""

    name: str
    in_use: str
    versions: dict[str, dict[str, Any]]
    since: dict[str, str] | None


class Shelf(NamedTuple):
    """The modules of a profile, and which profiles have versions."""

    profile: str
    profiles: list[str]
    modules: list[Module]


@page("/versions")
async def versions(profile: str = "") -> None:
    """List the versions of each module, with a way back."""
    heading(
        "Versions",
        "Each version of a module is an instruction to the model. Learning writes new ones, and tries them on"
        " conversations that no version has seen: what is proved to be better is published and used, a candidate may"
        " be better and meets the version in use in an A/B test, the rest is rejected.",
    )
    place = ui.element("div")

    async def draw() -> None:
        shelf = await asked(lambda brain: shelf_of(brain, profile or None))
        place.clear()
        with place:
            _profiles(shelf)
            if not any(len(module.versions) > 1 for module in shelf.modules):
                with section("No module has learnt yet"):
                    empty(
                        "Every module answers with its hand-written version, v0.0.",
                        "Versions come from learning: `understudy optimize`, or by itself after"
                        " RL_GYM_OPTIMIZE_INTERVAL decisions.",
                    )
            for module in shelf.modules:
                if len(module.versions) > 1:
                    _module(shelf.profile, module, draw)
            if unlearnt := [module.name for module in shelf.modules if len(module.versions) == 1]:
                Tag("p", f"With the hand-written version alone: {', '.join(unlearnt)}.").classes("about")

    await draw()


def shelf_of(brain: Brain, profile: str | None) -> Shelf:
    """Return the modules of a profile with their versions.

    Raises:
        ProfileError: there is no such profile.
    """
    name, folder = brain.profile(profile).name, brain.settings.optimized_modules_dir
    known = {path.parent.parent.name for path in folder.glob("*/*/latest.json") if path.parent.name in PROGRAMS}
    return Shelf(name, sorted({name, *known}), [module_of(brain, name, one) for one in PROGRAMS])


def module_of(brain: Brain, profile: str, name: str) -> Module:
    """Return the versions of a module."""
    versioning = versioning_of(brain, name, profile)
    in_use, moves = versioning.latest(name), versioning.history(name)
    metadata = {version: versioning.metadata(name, version) for version in versioning.list_versions(name)}
    return Module(name, in_use, metadata, moves[-1] if moves and moves[-1]["version"] == in_use else None)


def status_of(version: str, metadata: dict[str, Any]) -> str:
    """Return what became of a version, in a word."""
    return "baseline" if version == BASELINE else str(metadata.get("status") or "unknown").replace("_", " ")


def _profiles(shelf: Shelf) -> None:
    if len(shelf.profiles) > 1:
        with ui.element("p").classes("row"):
            Tag("span", "Profile:").classes("about")
            for name in shelf.profiles:
                to = link(name, f"/versions?{urlencode({'profile': name})}")
                to.props("aria-current=true" if name == shelf.profile else "")


def _module(profile: str, module: Module, draw: Any) -> None:
    about = f"{module.in_use} is in use"
    if module.since:
        about += f" since {when(module.since.get('at'))}: {module.since.get('why', '')}"
    with section(module.name, about):
        with ui.element("div").classes("wide"), ui.element("table").classes("stack"):
            with ui.element("thead"), ui.element("tr"):
                for title in ("Version", "Status", "Score (0 to 1)", "", "What was proved", "Learnt on", "Made", ""):
                    Tag("th", title).props("scope=col")
            with ui.element("tbody"):
                for version in reversed(module.versions):
                    _version(profile, module, version, draw)
        query = urlencode({"profile": profile})
        with ui.element("div").classes("row ways"):
            link("What changed, and how to load it in plain DSPy", f"/versions/{quote(module.name)}?{query}")


def _version(profile: str, module: Module, version: str, draw: Any) -> None:
    known = module.versions[version]
    metrics, sizes = known.get("metrics") or {}, known.get("sizes") or {}
    status, score = status_of(version, known), metrics.get("test_score")
    with ui.element("tr"):
        Tag("th", version).props("scope=row")
        with ui.element("td"):
            Tag("span", "in use" if version == module.in_use else status).classes(
                f"tag {'good' if version == module.in_use else KINDS.get(status, '')}"
            )
        before = metrics.get("baseline_score")
        scores = number(score, 3) if before is None else f"{number(before, 3)} → {number(score, 3)}"
        cell("Score (0 to 1)", scores).classes("once")
        with ui.element("td").classes("fill"):
            if isinstance(score, int | float):
                bar(score)
        cell("What was proved", known.get("reason") or better_by(metrics))
        cell("Learnt on", f"{number(sizes['train'])} examples" if sizes.get("train") else "").classes("once")
        cell("Made", when(known.get("created_at")) if version != BASELINE else "by hand").classes("once")
        with ui.element("td"), ui.element("div").classes("row last"):
            if run := known.get("run_id"):
                link("Report", f"/reports/{quote(str(run), safe='')}", new_tab=True)
            if version != module.in_use:
                button(f"Use {version}", lambda: _use(profile, module, version, draw))


def better_by(metrics: dict[str, Any]) -> str:
    """Say by how much a version was better than the one before; the lower end is what is proved."""
    gain, interval = metrics.get("improvement"), metrics.get("interval") or [None]
    if gain is None:
        return ""
    return f"{number(gain, 3, plus=True)}, at least {number(interval[0], 3, plus=True)}"


async def _use(profile: str, module: Module, version: str, draw: Any) -> None:
    status = status_of(version, module.versions[version])
    doubt = (
        ""
        if status in ("baseline", "published", "rolled back")
        else f" Its status is {status}: nothing proves it better."
    )
    if await confirmed(
        f"Use {version} of {module.name}?",
        f"{module.in_use} → {version} for conversations that begin a turn from now on.{doubt}"
        f" {module.in_use} is kept, and can be used again.",
        f"Use {version}",
        "first" if status in ("baseline", "published", "rolled back") else "danger",
    ):

        def rolled(brain: Brain) -> str:
            found = roll_back(brain, module.name, version, profile, "by hand, in the dashboard")
            return f"{module.name}: {found['version']} is in use instead of {found['before']}"

        await act(rolled)
        await draw()


@app.get("/reports/{run_id:path}")
def report(run_id: str) -> HTMLResponse:
    """Answer with the page of an optimisation, as it is written beside the versions."""
    try:
        return HTMLResponse(
            report_page(find_run(own_brain(), run_id)), headers={"content-security-policy": REPORT_POLICY}
        )
    except NoRun as error:
        raise HTTPException(404, str(error)) from None
