"""How rows of the gym become values, and values columns."""

import json
import sqlite3
from typing import Any

from understudy.events import BrainDecision, Event, Line

JSON_COLUMNS = ("state_snapshot", "readings", "faults", "versions", "models")
"""Columns of a decision that hold JSON."""


def event_of(row: sqlite3.Row) -> Event:
    """Return a row of the log."""
    return Event(**{**dict(row), "payload": json.loads(row["payload"] or "{}")})


def line_of(row: sqlite3.Row) -> Line:
    """Return a message of the log as a module is shown it."""
    line = Line(role=row["role"], text=row["text"])
    if row["action"]:
        line["action"] = row["action"]
    return line


def decision_of(row: sqlite3.Row) -> BrainDecision:
    """Return a row of the decisions."""
    values = {name: row[name] for name in BrainDecision.model_fields}
    return BrainDecision(**{k: json.loads(v) if k in JSON_COLUMNS and v is not None else v for k, v in values.items()})


def dump(value: Any) -> str | None:
    """Return a value as a column holds it, in JSON."""
    return None if value is None else json.dumps(value, ensure_ascii=False, separators=(",", ":"))
