"""The SQL that finds the conversations by which a module's readiness is judged."""

import json
from collections.abc import Iterator, Mapping, Sequence
from itertools import count
from typing import NamedTuple

from understudy.checkpoints.file import GymFile
from understudy.events import WorkflowOutcome

PAGE = 1000
"""Rows of evidence that one statement reads."""


class Known(NamedTuple):
    """When a turn was read (UTC ISO 8601), its versions as JSON, how its conversation ended, and what was asked for.

    `said` is a JSON list of what the readings hold at the paths that were asked for, null for nothing.
    """

    conversation_id: str
    turn: int
    created_at: str
    versions: str
    workflow_outcome: WorkflowOutcome | None
    said: str


def evidenced(gym: GymFile, field: str, upto: int, most: int) -> Iterator[tuple[int, str]]:
    """Yield row and conversation of the newest evidence of a field, newest first; what the teacher says is none.

    None is above the row `upto`; they are `most` at most.
    """
    for page in count():
        rows = gym.rows(
            "SELECT id, conversation_id FROM evidence WHERE field = ? AND source <> 'teacher' AND id <= ?"
            " ORDER BY id DESC LIMIT ?",
            field, upto, PAGE,
        )  # fmt: skip
        yield from ((row["id"], row["conversation_id"]) for row in rows)
        if len(rows) < PAGE or (page + 1) * PAGE >= most:
            return
        upto = rows[-1]["id"] - 1


def new_since(gym: GymFile, marks: Mapping[str, int]) -> set[str]:
    """Return the conversations of which something was written after `marks`, the `newest_ids` of then."""
    rows = gym.rows(
        "SELECT conversation_id FROM evidence WHERE id > ? UNION SELECT conversation_id FROM brain_decisions"
        " WHERE rowid > ? UNION SELECT conversation_id FROM events WHERE id > ?",
        marks["evidence"], marks["decisions"], marks["events"],
    )  # fmt: skip
    return {row[0] for row in rows}


def of_profile(gym: GymFile, conversation_ids: Sequence[str], profile: str) -> list[str]:
    """Return those of the conversations that have a profile, in their order."""
    rows = gym.rows(
        "SELECT c.value FROM json_each(?) c CROSS JOIN events e ON e.conversation_id = c.value AND e.seq = 0"
        " WHERE e.profile = ? ORDER BY c.key",
        json.dumps(conversation_ids), profile,
    )  # fmt: skip
    return [row[0] for row in rows]


def turns_of(gym: GymFile, conversation_ids: Sequence[str], paths: Sequence[str], upto: int, most: int) -> list[Known]:
    """Return the newest turns of conversations, `most` of each, none above the row `upto` of the decisions.

    To have SQLite take the few values out of the readings costs a quarter of reading all of them.
    """
    rows = gym.rows(
        "SELECT d.conversation_id, d.turn, d.created_at, d.versions, d.workflow_outcome,"
        f" json_extract(d.readings{', ?' * len(paths)}) FROM json_each(?) c CROSS JOIN brain_decisions d"
        " ON d.conversation_id = c.value AND d.turn > (SELECT max(turn) FROM brain_decisions"
        "  WHERE conversation_id = c.value) - ? WHERE d.rowid <= ? ORDER BY c.key, d.turn",
        *paths, json.dumps(conversation_ids), most, upto,
    )  # fmt: skip
    return [Known(*row) for row in rows]


def truths(
    gym: GymFile, spans: Sequence[tuple[str, int, int]], fields: Sequence[str], upto: int
) -> Iterator[tuple[str, int, str, str, str]]:
    """Yield conversation, turn, field, value (JSON) and source of what is known of spans of turns, oldest first.

    What the teacher says is none of it; none is above the row `upto`.
    """
    rows = gym.rows(
        "SELECT e.conversation_id, e.turn, e.field, e.value, e.source FROM json_each(?) s CROSS JOIN evidence e"
        " ON e.conversation_id = json_extract(s.value, '$[0]')"
        " AND e.turn BETWEEN json_extract(s.value, '$[1]') AND json_extract(s.value, '$[2]')"
        " WHERE e.source <> 'teacher' AND e.id <= ? AND e.field IN (SELECT value FROM json_each(?)) ORDER BY e.id",
        json.dumps(spans), upto, json.dumps(fields),
    )  # fmt: skip
    return map(tuple, rows)
