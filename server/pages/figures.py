"""Moments, spans, shares and names as a page writes them."""

import re
from collections.abc import Mapping
from datetime import UTC, datetime

from nicegui import ui

from understudy.server.pages.frame import Tag


def when(moment: str | None) -> str:
    """Return a moment (ISO 8601) to the minute, in UTC; one that is none is a dash."""
    try:
        return f"{datetime.fromisoformat(str(moment)).astimezone(UTC):%Y-%m-%d %H:%M} UTC"
    except ValueError:
        return "–"


def lasted(began: str | None, ended: str | None) -> str:
    """Return how long something took; a dash if it has not ended."""
    try:
        seconds = (datetime.fromisoformat(str(ended)) - datetime.fromisoformat(str(began))).total_seconds()
    except ValueError:
        return "–"
    return span(seconds)


def span(seconds: float) -> str:
    """Return a time in the unit that fits."""
    if seconds < 60:
        return f"{max(0.0, seconds):.1f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


def number(value: object, digits: int = 0, plus: bool = False) -> str:
    """Return a number with so many digits behind the point; what is none is a dash."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return "–"
    return f"{value:{'+' if plus else ''},.{digits}f}"


def counted(value: int, what: str) -> str:
    """Return so many of something."""
    return f"{value:,} {what}{'s' * (value != 1)}"


def percent(share: float, digits: int = 0) -> str:
    """Return a share, 0..1, as per cent, which no line breaks."""
    return f"{100 * share:.{digits}f}\u00a0%"


def words(name: object) -> str:
    """Return a field's name or a label in words; other text stays as it is."""
    text = str(name)
    return text.replace("_", " ") if re.fullmatch("[a-z]+(_[a-z]+)+", text) else text


def cell(title: str, text: object = "") -> Tag:
    """Write a cell of a table that phones show as a list: there its column's title stands before it."""
    made = Tag("td", text)
    made.props["data-label"] = title
    return made


def bars(rows: Mapping[str, int], heading: tuple[str, str]) -> None:
    """Draw counts as bars from a common left edge."""
    most = max(rows.values(), default=0) or 1
    with ui.element("table").classes("bars stack"):
        with ui.element("thead"), ui.element("tr"):
            Tag("th", heading[0])
            Tag("th")
            Tag("th", heading[1]).classes("num")
        with ui.element("tbody"):
            for name, value in rows.items():
                with ui.element("tr"):
                    Tag("th", name).props("scope=row")
                    with ui.element("td"):
                        bar(value / most)
                    Tag("td", f"{value:,}").classes("num")


def bar(share: float) -> None:
    """Draw a share of the whole width; its number stands beside it."""
    with ui.element("span").classes("bar").props("aria-hidden=true"):
        ui.element("i").style(f"width: {100 * max(0.0, min(1.0, share)):.1f}%")
