"""What stands beside a turn: what the modules said, whether they were right, what versions under test said."""

import json
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from nicegui import ui

from understudy.nodes.modules import MODULES, PROGRAMS
from understudy.server.pages.figures import number, percent, when, words
from understudy.server.pages.frame import Tag, facts, prose
from understudy.server.shown import Known, Pair, Seen, TurnSeen

NEAR = 0.25
"""How far a number may be from the true one to be called right."""

_SOURCES = {
    "human": "a person",
    "outcome": "how it ended",
    "hindsight": "what the agent did",
    "teacher": "the teacher model",
}
_QUIET = ("confidence", "reasoning")
"""Fields that every module has its own of."""

_FREE = ("proposed_response",)
"""Fields of free text: another one may be as good."""


def beside(turn: TurnSeen, server: str) -> None:
    """Write what is known of a turn."""
    with ui.element("div").classes("beside"):
        if turn.decision is None:
            prose(f"Turn {turn.turn} is not read yet. `understudy serve` reads what waits.").classes("about")
        else:
            _readings(turn.turn, turn.decision)
            for fault in turn.decision.faults:
                _fault(fault)
        said = _fields(turn.decision.readings if turn.decision else {})
        # The reply that was sent stands in the chat.
        known = [one for one in turn.evidence if (one.field, one.source) != ("proposed_response", "hindsight")]
        if known:
            with ui.element("table").classes("known"):
                _titles(("Evidence", "what turned out to be true, who says so", ""))
                with ui.element("tbody"):
                    for one in known:
                        _known(one, said)
        for pair in turn.pairs:
            _pair(pair)
        if turn.decision is not None:
            _more(turn.decision, server)


def value_of(value: Any) -> str:
    """Return a JSON value as people read it, labels in words."""
    if value is None:
        return "nothing"
    if isinstance(value, float):
        return f"{value:.3g}"
    if isinstance(value, list) and not any(isinstance(one, dict | list) for one in value):
        return "; ".join(map(words, value)) or "none"
    return words(value) if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def values_of(table: Mapping[str, Any]) -> dict[str, object]:
    """Return a JSON object as names and texts; what is in an object of its own is named by its way."""
    found: dict[str, object] = {}
    for name, value in table.items():
        inner = values_of(value) if isinstance(value, dict) and value else None
        title = words(name)
        found |= {title: value_of(value)} if inner is None else {f"{title}: {key}": one for key, one in inner.items()}
    return found


def agrees(said: Any, truth: Any) -> bool | None:
    """Say whether a label or a number was right; None for free text and lists, which have no such word."""
    if isinstance(said, bool | str) and isinstance(truth, bool | str):
        return said == truth
    if isinstance(said, int | float) and isinstance(truth, int | float):
        return abs(said - truth) <= NEAR
    return None


def _titles(titles: tuple[str, ...]) -> None:
    with ui.element("thead"), ui.element("tr"):
        for title in titles:
            Tag("th", title).classes("num" if title in ("sure", "version") else "").props("scope=col")


def _readings(turn: int, seen: Seen) -> None:
    """Write a row a module: its main fields, how sure it is, its version."""
    with ui.element("table").classes("saw"):
        _titles((f"Turn {turn}", "what the brain said", "sure", "version"))
        with ui.element("tbody"):
            for name, reading in seen.readings.items():
                fields = reading["fields"]
                with ui.element("tr"):
                    Tag("th", name).props("scope=row")
                    main = MODULES[name].main_fields if name in MODULES else fields
                    said = (f"{words(field)}: {value_of(fields.get(field))}" for field in main)
                    with ui.element("td"):
                        Tag("p", "\n".join(said)).classes("said")  # a cell could not scroll
                    sure = fields.get("confidence")
                    Tag("td", percent(sure) if isinstance(sure, int | float) else "").classes("num")
                    Tag("td", reading["version"]).classes("num")


def _fault(fault: Mapping[str, Any]) -> None:
    """Say in words which module could not answer, and why."""
    with ui.element("div").classes("note"):
        Tag("p", f"{fault['step']} gave no answer: {fault['message']} ({fault['kind']})").classes("bad")
        if fault.get("text"):
            with ui.element("details"):
                Tag("summary", "What it wrote")
                Tag("p", fault["text"]).classes("said")


def _known(one: Known, said: Mapping[str, Any]) -> None:
    """Write what turned out to be true of a field, who says so, and whether the brain was right."""
    right = None if one.field in _FREE else agrees(said.get(one.field), one.value)
    with ui.element("tr"):
        Tag("th", words(one.field)).props("scope=row")
        with ui.element("td"):
            Tag("p", value_of(one.value)).classes("said")
            Tag("p", ", ".join(filter(None, (_SOURCES[one.source], one.author, when(one.at))))).classes("about")
        mark = Tag("td", {True: "\u2713 right", False: "\u2717 wrong", None: ""}[right]).classes("num")
        if right is not None:
            mark.classes("good" if right else "bad")


def _pair(pair: Pair) -> None:
    """Write what both versions of an A/B test said of the turn."""
    main = PROGRAMS[pair.module].main_fields if pair.module in PROGRAMS else ()
    with ui.element("div").classes("note"):
        Tag("p", f"A/B test {pair.test}").classes("about")
        rows: dict[str, object] = {}
        sides = (
            ("A", pair.variant_a, pair.answer_a, pair.fault_a, pair.score_a),
            ("B", pair.variant_b, pair.answer_b, pair.fault_b, pair.score_b),
        )
        for side, version, answer, fault, score in sides:
            shown = [value_of(value) for name, value in (answer or {}).items() if not main or name in main]
            text = "; ".join(shown) if answer is not None else f"no answer: {fault}"
            rows[f"{side}, {version}"] = f"{text} (score {number(score, 2)})" if score is not None else text
        facts(rows)


def _more(seen: Seen, server: str) -> None:
    """Write all that the modules said, the state, and where the run is found, once somebody unfolds it."""
    with ui.element("details") as folded:
        Tag("summary", "All that it said, and its run")

    def fill() -> None:
        if len(folded.default_slot.children) == 1:
            with folded:
                _all(seen, server)

    folded.on("toggle", fill)


def _all(seen: Seen, server: str) -> None:
    for name, reading in seen.readings.items():
        Tag("h3", name)
        facts(values_of(reading["fields"]))
    if seen.state_snapshot:
        Tag("h3", "State, as the host gave it")
        facts(values_of(seen.state_snapshot))
    Tag("h3", "The run")
    facts(
        {
            "Decision": seen.decision_id,
            "Written": when(seen.created_at),
            "Model": ", ".join(sorted(set(seen.models.values()))) or seen.engine,
            "Tokens": f"{seen.tokens_in:,} read, {seen.tokens_out:,} written",
            "Took": f"{seen.latency_ms:,.0f} ms",
            "Checkpoint": seen.checkpoint_id or "none is kept",
        }
    )
    if seen.checkpoint_id and seen.thread_id:
        state = f"{server}/threads/{quote(seen.thread_id, safe='')}/state/{seen.checkpoint_id}"
        ui.link("State at this turn", state, new_tab=True)


def _fields(readings: Mapping[str, Any]) -> dict[str, Any]:
    """Return what the modules said by field."""
    return {
        field: value
        for reading in readings.values()
        for field, value in reading["fields"].items()
        if field not in _QUIET
    }
