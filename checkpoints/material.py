"""What examples are made of: which turns there are, what was said before them, what is known, on which side they are.

The SQL for it. What is read stays the same while the gym grows, as nothing above given rows is looked at.
"""

import json
from bisect import bisect_left
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from understudy.checkpoints.file import GymFile, now
from understudy.checkpoints.rows import decision_of, line_of
from understudy.events import BrainDecision, Line

FULL_BAND = 32
"""Conversations that share a piece of a sketch, from which on no more are noted for it."""


class Material:
    """What there is to learn from; thread-safe."""

    def __init__(self, file: GymFile) -> None:
        self._file = file

    def newest_ids(self) -> dict[str, int]:
        """Return the newest row of decisions, evidence and events: what comes later has a higher one."""
        tables = {"decisions": "brain_decisions", "evidence": "evidence", "events": "events"}
        return {
            name: self._file.count(f"SELECT coalesce(max(rowid), 0) FROM {table}") for name, table in tables.items()
        }

    def newest_decisions(self, profile: str, upto: int, limit: int) -> list[int]:
        """Return the rows of a profile's newest decisions, newest first, none above `upto`."""
        rows = self._file.rows(
            "SELECT rowid FROM brain_decisions WHERE profile = ? AND rowid <= ? ORDER BY rowid DESC LIMIT ?",
            profile, upto, limit,
        )  # fmt: skip
        return [row["rowid"] for row in rows]

    def labelled_decisions(self, profile: str, fields: Sequence[str], below: int, upto: int, limit: int) -> list[int]:
        """Return the rows below one of a profile's decisions that people labelled last, in one of the fields.

        `upto` is the newest evidence that is looked at, `limit` how many labels of each field.
        """
        found: set[int] = set()
        for field in fields:
            rows = self._file.rows(
                "SELECT d.rowid FROM (SELECT conversation_id, turn FROM evidence WHERE source = 'human' AND field = ?"
                "  AND id <= ? ORDER BY id DESC LIMIT ?) e CROSS JOIN brain_decisions d"
                " ON d.conversation_id = e.conversation_id AND d.turn = e.turn WHERE d.profile = ? AND d.rowid < ?",
                field, upto, limit, profile, below,
            )  # fmt: skip
            found.update(row["rowid"] for row in rows)
        return sorted(found, reverse=True)[:limit]

    def count_other_profiles(self, profile: str, upto: int, newest: int) -> int:
        """Count the decisions of other profiles among the newest of all."""
        return self._file.count(
            "SELECT count(*) FROM (SELECT profile FROM brain_decisions WHERE rowid <= ? ORDER BY rowid DESC LIMIT ?)"
            " WHERE profile <> ?",
            upto, newest, profile,
        )  # fmt: skip

    def decisions_at(self, rows: Sequence[int]) -> dict[int, BrainDecision]:
        """Return some decisions by their row, oldest first."""
        found = self._file.rows(
            "SELECT rowid, * FROM brain_decisions WHERE rowid IN (SELECT value FROM json_each(?)) ORDER BY rowid",
            json.dumps(rows),
        )
        return {row["rowid"]: decision_of(row) for row in found}

    def endings(self, conversation_ids: Sequence[str], decisions: int, events: int) -> dict[str, dict[str, Any]]:
        """Return how far conversations have come, seen up to a decision's and an event's row.

        Returns:
            By conversation: `turns`, `last` moment (UTC ISO 8601), whether it `ended` with an outcome, and the
            `workflow_outcome` if it is known.
        """
        told = "FROM events WHERE conversation_id = c.value AND kind = 'outcome' AND id <= ?3"
        upto = "FROM brain_decisions WHERE conversation_id = c.value AND rowid <= ?2 ORDER BY turn DESC LIMIT 1"
        rows = self._file.rows(
            "SELECT c.value AS conversation_id,"
            f" (SELECT turn + 1 {upto}) AS turns,"
            f" max((SELECT created_at {upto}), coalesce((SELECT at FROM events WHERE conversation_id = c.value"
            "  AND id <= ?3 ORDER BY seq DESC LIMIT 1), '')) AS last,"
            f" EXISTS (SELECT 1 {told}) AS ended,"
            f" (SELECT json_extract(payload, '$.workflow_outcome') AS how {told} AND how IS NOT NULL"
            "  ORDER BY id DESC LIMIT 1) AS workflow_outcome"
            " FROM json_each(?1) c",
            json.dumps(conversation_ids), decisions, events,
        )  # fmt: skip
        return {row["conversation_id"]: dict(row) for row in rows}

    def evidence_of(self, spans: Sequence[tuple[str, int, int]], upto: int) -> Iterator[dict[str, Any]]:
        """Yield the evidence of spans of turns (conversation, first, last), oldest first, none above the row `upto`."""
        rows = self._file.rows(
            "SELECT e.conversation_id, e.turn, e.field, e.value, e.source FROM json_each(?) s CROSS JOIN evidence e"
            " ON e.conversation_id = json_extract(s.value, '$[0]')"
            " AND e.turn BETWEEN json_extract(s.value, '$[1]') AND json_extract(s.value, '$[2]')"
            " WHERE e.id <= ? ORDER BY e.id",
            json.dumps(spans), upto,
        )  # fmt: skip
        return ({**dict(row), "value": json.loads(row["value"])} for row in rows)

    def histories(self, conversation_id: str, befores: Sequence[int], limit: int) -> dict[int, list[Line]]:
        """Return what `history` does for several turns of a conversation, reading it once."""
        block = max(1, limit // 5)
        rows = self._file.rows(
            "WITH newest AS (SELECT seq FROM events WHERE conversation_id = ?1 AND seq < ?2 AND role IS NOT NULL"
            "  ORDER BY seq DESC LIMIT 1 OFFSET ?4 - 1)"
            " SELECT seq, role, text, action FROM events WHERE conversation_id = ?1 AND seq < ?3 AND role IS NOT NULL"
            "  AND seq >= coalesce((SELECT seq / ?5 * ?5 FROM newest), 0)"
            " UNION SELECT * FROM (SELECT seq, role, text, action FROM events"
            "  WHERE conversation_id = ?1 AND seq < ?3 AND role IS NOT NULL ORDER BY seq LIMIT 1)"
            " ORDER BY seq",
            conversation_id, min(befores), max(befores), limit, block,
        )  # fmt: skip
        seqs, lines = [row["seq"] for row in rows], [line_of(row) for row in rows]
        found: dict[int, list[Line]] = {}
        for before in befores:
            end = bisect_left(seqs, before)
            start = bisect_left(seqs, seqs[end - limit] // block * block) if end >= limit else 0
            found[before] = lines[: min(1, start)] + lines[start:end]
        return found

    def first_messages(self, conversation_id: str, upto: int, limit: int) -> list[Line]:
        """Return the first messages of a conversation, none above the event's row `upto`."""
        rows = self._file.rows(
            "SELECT role, text, NULL AS action FROM events WHERE conversation_id = ? AND id <= ? AND role IS NOT NULL"
            " ORDER BY seq LIMIT ?",
            conversation_id, upto, limit,
        )  # fmt: skip
        return [line_of(row) for row in rows]

    def sides(self, conversation_ids: Sequence[str]) -> dict[str, tuple[str, str]]:
        """Return cluster and side of those conversations that have been given one."""
        rows = self._file.rows(
            "SELECT conversation_id, cluster, side FROM conversation_sides"
            " WHERE conversation_id IN (SELECT value FROM json_each(?))",
            json.dumps(conversation_ids),
        )
        return {row["conversation_id"]: (row["cluster"], row["side"]) for row in rows}

    def placed_at(self, conversation_id: str) -> str | None:
        """Return when a conversation was given its side, if it has one (UTC ISO 8601)."""
        row = self._file.row("SELECT at FROM conversation_sides WHERE conversation_id = ?", conversation_id)
        return row["at"] if row else None

    def alike(self, bands: Sequence[int]) -> list[bytes]:
        """Return the sketches of the conversations that share a piece of a sketch."""
        rows = self._file.rows(
            "SELECT sketch FROM conversation_sides WHERE id IN (SELECT side_id FROM conversation_bands"
            " WHERE band IN (SELECT value FROM json_each(?)))",
            json.dumps(bands),
        )
        return [row["sketch"] for row in rows]

    def place(
        self,
        conversation_id: str,
        sketch: bytes,
        bands: Sequence[int],
        choose: Callable[[Sequence[tuple[bytes, str, str]]], tuple[str, str]],
    ) -> None:
        """Give a conversation its cluster and side for ever; nothing happens when it has them.

        `choose` is shown sketch, cluster and side of those that share a band, the first seen first. A band that
        FULL_BAND conversations have takes no more, so that what everybody says costs no more each time.
        """
        with self._file.writing():
            if self._file.row("SELECT 1 FROM conversation_sides WHERE conversation_id = ?", conversation_id):
                return
            rows = self._file.rows(
                "SELECT sketch, cluster, side FROM conversation_sides WHERE id IN (SELECT side_id FROM"
                " conversation_bands WHERE band IN (SELECT value FROM json_each(?))) ORDER BY id",
                json.dumps(bands),
            )
            cluster, side = choose([(row["sketch"], row["cluster"], row["side"]) for row in rows])
            placed = self._file.connection.execute(
                "INSERT INTO conversation_sides (conversation_id, cluster, side, sketch, at) VALUES (?, ?, ?, ?, ?)",
                (conversation_id, cluster, side, sketch, now()),
            )
            if not placed.rowcount:
                return  # it has been erased
            self._file.connection.executemany(
                "INSERT OR IGNORE INTO conversation_bands SELECT ?1, ?2 WHERE (SELECT count(*) FROM"
                " (SELECT 1 FROM conversation_bands WHERE band = ?1 LIMIT ?3)) < ?3",
                [(band, placed.lastrowid, FULL_BAND) for band in bands],
            )

    def unlabelled(self, author: str, silent_since: str, limit: int) -> list[tuple[str, list[int]]]:
        """Return closed conversations and their turns that neither a person nor this teacher has labelled.

        The newest come first, and after all others those that the teacher has labelled in part.
        """
        rows = self._file.rows(
            "WITH labelled AS MATERIALIZED (SELECT conversation_id, json_extract(payload, '$.turn') AS turn FROM events"
            "  WHERE kind = 'label' AND json_extract(payload, '$.source') = 'teacher'"
            "  AND json_extract(payload, '$.author') = ?1)"
            " SELECT e.conversation_id, json_group_array(e.turn) AS turns FROM events e LEFT JOIN labelled l"
            "  ON l.conversation_id = e.conversation_id AND l.turn = e.turn"
            " WHERE e.kind = 'customer_message' AND l.turn IS NULL AND NOT EXISTS (SELECT 1 FROM evidence v"
            "  WHERE v.conversation_id = e.conversation_id AND v.turn = e.turn AND v.source = 'human')"
            " GROUP BY e.conversation_id HAVING e.conversation_id IN (SELECT conversation_id FROM events"
            "  GROUP BY conversation_id HAVING max(kind = 'outcome') OR count(*) = count(processed_at)"
            "  AND max(CASE WHEN role IS NOT NULL THEN coalesce(at, processed_at) END) <= ?2)"
            " ORDER BY e.conversation_id IN (SELECT conversation_id FROM labelled), max(e.id) DESC LIMIT ?3",
            author, silent_since, limit,
        )  # fmt: skip
        return [(row["conversation_id"], sorted(json.loads(row["turns"]))) for row in rows]
