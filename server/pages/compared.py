"""Two versions of a module side by side: what changed in the instruction, the figures, how to load one elsewhere."""

from typing import Any, NamedTuple
from urllib.parse import quote, urlencode

from nicegui import ui

from understudy.checkpoints.versioning import BASELINE, NoVersion
from understudy.nodes.brain import Brain
from understudy.nodes.modules import PROGRAMS
from understudy.optimize import versioning_of
from understudy.report import Line, diff
from understudy.server.pages.acting import chooser
from understudy.server.pages.figures import number, when
from understudy.server.pages.frame import Tag, asked, empty, heading, page, section
from understudy.server.pages.versions import Module, module_of, status_of

SIGNS = {"-": ("cut", "−"), "+": ("add", "+"), " ": ("kept", ""), "~": ("about", "")}

IN_CODE = 'import understudy\nprogram = understudy.load_module("{name}", use_optimized=False)'


class Side(NamedTuple):
    """A version: its instruction, and the lines that load it."""

    version: str
    instruction: str
    python: str


class Compared(NamedTuple):
    """Two versions of a module."""

    module: Module
    a: Side
    b: Side
    changes: list[Line]


@page("/versions/{name}")
async def compare(name: str, profile: str = "", a: str = "", b: str = "") -> None:
    """Show two versions side by side, as the address says, else the one in use beside the one it came from."""
    found = await asked(lambda brain: compared(brain, name, profile or None, a, b))
    module = found.module
    heading(f"Versions of {module.name}", f"{module.in_use} is in use.", named=f"{module.name} - Versions")
    if len(module.versions) < 2:
        with section("Nothing to compare yet"):
            empty(
                "There is the hand-written version alone.",
                f"`understudy optimize --module {module.name}` learns another.",
            )
    else:
        _choice(found, profile)
        with section("What changed in the instruction", f"from {found.a.version} to {found.b.version}"):
            changes(found.changes)
        with section(
            "Figures", "Scores are means from 0 to 1; sealed conversations are those that no version has seen."
        ):
            _figures(found)
    for side in dict.fromkeys((found.b, found.a)):
        saved = side.python != IN_CODE.format(name=name)
        about = (
            "The lines need DSPy, and nothing of understudy's." if saved else "The hand-written version is in the code."
        )
        with section(f"{side.version} in plain DSPy" if saved else f"{side.version} in Python", about):
            Tag("pre", side.python)
            with ui.element("details"):
                Tag("summary", "Its whole instruction")
                Tag("pre", side.instruction)


def compared(brain: Brain, name: str, profile: str | None, a: str, b: str) -> Compared:
    """Return two versions of a module; for those that are not named, the one in use and its parent.

    Raises:
        InputError: there is no such module.
        VersionError: a version does not exist or is damaged.
    """
    versioning_of(brain, name, profile)
    module = module_of(brain, brain.profile(profile).name, name)
    newest = list(module.versions)[-1]
    b = b or (module.in_use if module.in_use != BASELINE else newest)
    parent = module.versions.get(b, {}).get("parent")
    a = a or (parent if parent in module.versions else BASELINE)
    one, two = (_side(brain, name, profile, version) for version in (a, b))
    return Compared(module, one, two, diff(one.instruction, two.instruction))


def _side(brain: Brain, name: str, profile: str | None, version: str) -> Side:
    try:
        shown = versioning_of(brain, name, profile).shown(name, version)
    except NoVersion:
        if version != BASELINE:
            raise
        program: Any = PROGRAMS[name].program(brain.profile(profile))
        return Side(BASELINE, program.signature.instructions, IN_CODE.format(name=name))
    return Side(shown["version"], shown["instruction"], shown["python"])


def _choice(found: Compared, profile: str) -> None:
    names = list(found.module.versions)

    def go(**chosen: str) -> None:
        query = {"profile": profile, "a": found.a.version, "b": found.b.version, **chosen}
        ui.navigate.to(f"/versions/{quote(found.module.name)}?{urlencode(query)}")

    with ui.element("div").classes("fields"):
        chooser("From", names, found.a.version, lambda version: go(a=version))
        chooser("To", names, found.b.version, lambda version: go(b=version))


def changes(lines: list[Line]) -> None:
    """Write what changed in an instruction, with a sign before each sentence."""
    if not lines:
        Tag("p", "Both instructions are the same.")
    with ui.element("div").classes("diff said"):
        for line in lines:
            kind, sign = SIGNS[line.sign]
            with ui.element("div").classes(kind):
                Tag("span", sign).classes("sign")
                with ui.element("span"):
                    for text, changed in line.parts:
                        Tag("b" if changed else "span", text)


def _figures(found: Compared) -> None:
    a, b = (found.module.versions.get(side.version, {}) for side in (found.a, found.b))
    rows = {name: (read(a), read(b)) for name, read in _FIGURES.items()}
    status = tuple(status_of(side.version, known) for side, known in ((found.a, a), (found.b, b)))
    with ui.element("div").classes("wide"), ui.element("table"):
        with ui.element("thead"), ui.element("tr"):
            for title in ("", found.a.version, found.b.version):
                Tag("th", title).props("scope=col")
        with ui.element("tbody"):
            for name, values in {"Status": status, **rows}.items():
                with ui.element("tr"):
                    Tag("th", name).props("scope=row")
                    for value in values:
                        Tag("td", value)
    if a.get("metric_version") != b.get("metric_version") and BASELINE not in (found.a.version, found.b.version):
        Tag("p", "They were scored by different versions of the metric: their scores cannot be compared.").classes(
            "warn"
        )


def _metric(name: str, plus: bool = False) -> Any:
    return lambda known: number((known.get("metrics") or {}).get(name), 3, plus)


def _size(name: str) -> Any:
    return lambda known: number((known.get("sizes") or {}).get(name))


def _least(known: dict[str, Any]) -> str:
    interval = (known.get("metrics") or {}).get("interval") or [None]
    return number(interval[0], 3, plus=True)


def _seconds(known: dict[str, Any]) -> str:
    seconds = (known.get("times") or {}).get("seconds")
    return "–" if seconds is None else f"{seconds:,.1f} s"


_FIGURES = {
    "Score on sealed conversations": _metric("test_score"),
    "The version before, on the same": _metric("baseline_score"),
    "Better by": _metric("improvement", plus=True),
    "At least by": _least,
    "Score where it was chosen": _metric("val_score"),
    "Score where it learnt": _metric("train_score"),
    "Examples to learn from": _size("train"),
    "Examples to choose by": _size("val"),
    "Sealed examples": _size("test"),
    "Student model": lambda known: str(known.get("student") or "–"),
    "Teacher model": lambda known: str(known.get("teacher") or "–"),
    "Search took": _seconds,
    "Made": lambda known: "by hand" if known.get("version", BASELINE) == BASELINE else when(known.get("created_at")),
    "Why": lambda known: str(known.get("reason") or "–"),
}
