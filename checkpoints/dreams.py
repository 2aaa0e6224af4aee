"""What the gym holds of dreams: invented conversations, for training only; and every SQL statement on them."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from understudy.checkpoints.file import GymFile, now

MOST_DREAMS = 5000
"""Dreams of a profile that are kept; the oldest go. A cycle makes no more either."""

_COLUMNS = (
    "dream_id",
    "profile",
    "cycle",
    "kind",
    "parents",
    "lenders",
    "intent",
    "conversation",
    "model",
    "prompt_hash",
    "sketch",
)


_JSON = ("parents", "lenders", "conversation")


class Dreams:
    """The dreams of a gym and the cycles that made them; thread-safe."""

    def __init__(self, file: GymFile) -> None:
        self._file = file

    def keep(self, dreams: Sequence[Mapping[str, Any]]) -> None:
        """Write dreams; a dream of the same id is replaced, and of each profile the oldest beyond MOST_DREAMS go."""
        marks = ", ".join(f":{name}" for name in _COLUMNS)
        with self._file.writing():
            for dream in dreams:
                values = {name: dream[name] for name in _COLUMNS}
                values |= {name: json.dumps(dream[name], ensure_ascii=False) for name in _JSON}
                self._file.connection.execute(
                    f"INSERT OR REPLACE INTO dreams ({', '.join(_COLUMNS)}, at) VALUES ({marks}, :at)",
                    {**values, "at": now()},
                )
            for profile in {dream["profile"] for dream in dreams}:
                self._file.connection.execute(
                    "DELETE FROM dreams WHERE profile = ?1 AND id <= (SELECT id FROM dreams WHERE profile = ?1"
                    " ORDER BY id DESC LIMIT 1 OFFSET ?2)",
                    (profile, MOST_DREAMS),
                )

    def newest(self, profile: str, limit: int, upto: int | None = None) -> list[dict[str, Any]]:
        """Return the newest dreams of a profile, none above the row `upto`; the newest first."""
        rows = self._file.rows(
            "SELECT * FROM dreams WHERE profile = ? AND id <= coalesce(?, id) ORDER BY id DESC LIMIT ?",
            profile, upto, limit,
        )  # fmt: skip
        return [{**dict(row), **{name: json.loads(row[name]) for name in _JSON}} for row in rows]

    def sketches(self, profile: str) -> list[bytes]:
        """Return the sketches of all dreams of a profile."""
        return [row["sketch"] for row in self._file.rows("SELECT sketch FROM dreams WHERE profile = ?", profile)]

    def count(self, profile: str | None = None) -> int:
        """Count the dreams of a profile, or all."""
        return self._file.count("SELECT count(*) FROM dreams WHERE profile = coalesce(?, profile)", profile)

    def last_row(self) -> int:
        """Return the newest row: what is dreamt later has a higher one."""
        return self._file.count("SELECT coalesce(max(id), 0) FROM dreams")

    def made_of(self, conversation_ids: Sequence[str]) -> list[int]:
        """Return the rows of the dreams of which one of the conversations is a parent, or has lent words.

        A damaged one that does not say is taken for such.
        """
        rows = self._file.rows(
            "WITH them AS (SELECT value FROM json_each(?)) SELECT id FROM dreams"
            " WHERE CASE WHEN json_valid(parents) AND json_valid(lenders) THEN"
            "  EXISTS (SELECT 1 FROM json_each(parents) WHERE value IN them)"
            "  OR EXISTS (SELECT 1 FROM json_each(lenders) WHERE value IN them) ELSE 1 END",
            json.dumps(conversation_ids),
        )
        return [row["id"] for row in rows]

    def erase(self, rows: Sequence[int]) -> int:
        """Erase dreams, and return how many."""
        with self._file.writing():
            return self._file.connection.execute(
                "DELETE FROM dreams WHERE id IN (SELECT value FROM json_each(?))", (json.dumps(rows),)
            ).rowcount

    # Cycles

    def save_cycle(self, report: Mapping[str, Any]) -> None:
        """Write what is known of a cycle: its columns, and all of it as JSON."""
        columns = ("cycle", "profile", "started_at", "ended_at", "status")
        with self._file.writing():
            self._file.connection.execute(
                f"INSERT INTO dream_cycles ({', '.join(columns)}, report) VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT (cycle)"
                " DO UPDATE SET ended_at = excluded.ended_at, status = excluded.status, report = excluded.report",
                (*(report.get(name) for name in columns), json.dumps(report, ensure_ascii=False)),
            )

    def report(self, profile: str | None = None, cycle: str | None = None) -> dict[str, Any] | None:
        """Return the report of a cycle that has ended, by its name or the newest of a profile."""
        row = self._file.row(
            "SELECT report FROM dream_cycles WHERE profile = coalesce(?, profile) AND cycle = coalesce(?, cycle)"
            " AND ended_at IS NOT NULL ORDER BY rowid DESC LIMIT 1",
            profile, cycle,
        )  # fmt: skip
        return dict(json.loads(row["report"])) if row else None

    def cycles(self, profile: str) -> int:
        """Count the cycles of a profile."""
        return self._file.count("SELECT count(*) FROM dream_cycles WHERE profile = ?", profile)

    def unfinished_cycle(self, profile: str) -> str | None:
        """Return the newest cycle of a profile if it has not ended."""
        row = self._file.row(
            "SELECT cycle, ended_at FROM dream_cycles WHERE profile = ? ORDER BY rowid DESC LIMIT 1", profile
        )
        return row["cycle"] if row and row["ended_at"] is None else None
