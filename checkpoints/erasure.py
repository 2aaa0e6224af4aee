"""What erases conversations from the gym, and every SQL statement on it.

Deleted rows are overwritten (PRAGMA secure_delete). Copies that SQLite has left in unused parts of pages, as when it
moved rows from a full page to a new one, go when the file is written anew (`rewrite`).
"""

import json
import time
from collections.abc import Collection, Iterable, Sequence
from typing import Any

from understudy.checkpoints.file import GymError, GymFile

_COUNTED = {
    "brain_decisions": "decisions",
    "evidence": "evidence",
    "personalization_suggestions": "suggestions",
    "events": "events",
}
_RUN_ID, _CONVERSATION, _GRAPH = (
    f"json_extract(CAST(metadata AS TEXT), '$.{name}')" for name in ("run_id", "conversation_id", "graph_id")
)
SECONDS_FOR_READERS = 5
"""How long to wait for those who read an earlier state of the file before its log can be emptied."""


class Erasure:
    """Erases conversations of a gym; thread-safe."""

    def __init__(self, file: GymFile) -> None:
        self._file = file

    def known(self, conversation_id: str) -> bool:
        """Say whether the gym holds anything of a conversation."""
        tables = ("events", "brain_decisions", "evidence", "ab_conversations")
        found = (self._file.row(f"SELECT 1 FROM {name} WHERE conversation_id = ?", conversation_id) for name in tables)
        return any(found)

    def of_customer(self, keys: Sequence[str], value: str) -> list[str]:
        """Return the conversations whose customer object has, under one of the keys, that value (written as text)."""
        rows = self._file.rows(
            "SELECT DISTINCT e.conversation_id FROM events e, json_each(e.payload, '$.customer') c"
            " WHERE e.payload IS NOT NULL AND c.key IN (SELECT value FROM json_each(?))"
            " AND CAST(c.value AS TEXT) = ? ORDER BY e.id",
            json.dumps(keys), value,
        )  # fmt: skip
        return [row["conversation_id"] for row in rows]

    def ended_before(self, moment: str, after: int, limit: int) -> tuple[list[str], int | None]:
        """Look at `limit` conversations behind an event's row, for those in which nothing was said since a moment.

        A message counts from when it was sent or, if that is not known or lies in the future, from when it was read.

        Args:
            moment: UTC ISO 8601.
            after: the row that the last call returned; 0 to begin.
            limit: how many are looked at.

        Returns:
            The conversations, and the row to go on behind; None when all have been looked at.
        """
        rows = self._file.rows(
            "SELECT f.id, f.conversation_id, (SELECT max(min(coalesce(at, processed_at, '9999'),"
            "  coalesce(processed_at, at, '9999'))) FROM events e WHERE e.conversation_id = f.conversation_id"
            "  AND e.kind <> 'label') < ? AS gone FROM events f WHERE f.seq = 0 AND f.id > ? ORDER BY f.id LIMIT ?",
            moment, after, limit,
        )  # fmt: skip
        return [row["conversation_id"] for row in rows if row["gone"]], rows[-1]["id"] if len(rows) == limit else None

    def texts(self, conversation_ids: Sequence[str]) -> list[str]:
        """Return what was said in conversations."""
        rows = self._file.rows(
            "SELECT text FROM events WHERE conversation_id IN (SELECT value FROM json_each(?)) AND text IS NOT NULL",
            json.dumps(conversation_ids),
        )
        return [row["text"] for row in rows]

    def profiles(self, conversation_ids: Sequence[str]) -> set[str]:
        """Return the profiles of conversations."""
        rows = self._file.rows(
            "SELECT DISTINCT profile FROM events WHERE conversation_id IN (SELECT value FROM json_each(?))",
            json.dumps(conversation_ids),
        )
        return {row["profile"] for row in rows}

    def conversation(self, conversation_id: str, thread_id: str) -> dict[str, int]:
        """Erase all rows of a conversation, in one transaction, and return how many of what.

        What it has brought to an A/B test stays as two numbers, without saying whose they are: else the test's verdict
        could not be told any more.

        Args:
            conversation_id: as the host calls it.
            thread_id: LangGraph's thread of it; others in which it was read are found.
        """
        with self._file.writing():
            execute = self._file.connection.execute
            found = {"checkpoints": self._checkpoints(conversation_id, thread_id)}
            found["ab_results"] = execute(
                "DELETE FROM ab_results WHERE (test, conversation_id) IN"
                " (SELECT test, conversation_id FROM ab_conversations WHERE conversation_id = ?)",
                (conversation_id,),
            ).rowcount
            execute(
                "UPDATE ab_conversations SET conversation_id = 'erased-' || lower(hex(randomblob(16)))"
                " WHERE conversation_id = ? AND state = 'entered'",
                (conversation_id,),
            )
            execute(
                "DELETE FROM conversation_bands WHERE side_id IN"
                " (SELECT id FROM conversation_sides WHERE conversation_id = ?)",
                (conversation_id,),
            )
            for name in ("conversation_sides", "ab_conversations", "ab_asked", *_COUNTED):
                count = execute(f"DELETE FROM {name} WHERE conversation_id = ?", (conversation_id,)).rowcount
                if name in _COUNTED:
                    found[_COUNTED[name]] = count
            return found

    def _checkpoints(self, conversation_id: str, thread_id: str) -> int:
        if not self._has_checkpoints():
            return 0
        rows = self._file.rows(
            f"SELECT DISTINCT thread_id FROM checkpoints WHERE {_CONVERSATION} = ?1 UNION"
            " SELECT thread_id FROM brain_decisions WHERE conversation_id = ?1 AND thread_id IS NOT NULL",
            conversation_id,
        )
        return self._threads({thread_id, *(row["thread_id"] for row in rows)})

    def _threads(self, thread_ids: Iterable[str]) -> int:
        """Erase the checkpoints of threads, and return how many."""
        among = "WHERE thread_id IN (SELECT value FROM json_each(?))"
        given = (json.dumps(list(thread_ids)),)
        self._file.connection.execute(f"DELETE FROM writes {among}", given)
        return self._file.connection.execute(f"DELETE FROM checkpoints {among}", given).rowcount

    def _has_checkpoints(self) -> bool:
        return bool(self._file.row("SELECT 1 FROM sqlite_master WHERE name = 'checkpoints'"))

    def runs(self, waiting: Collection[str], quotes: Collection[str]) -> None:
        """Erase the checkpoints of optimisations and dream cycles, and what their reports quote.

        Checkpoints may hold what a customer said. A run that has not ended begins anew; of one that waits for a person
        the newest checkpoint stays: what it holds has passed the check for customers' words.

        Args:
            waiting: runs that wait for a person.
            quotes: texts that may not stay in a report.
        """
        with self._file.writing():
            if self._has_checkpoints():
                rows = self._file.rows(
                    "SELECT run_id AS thread_id FROM optimization_runs UNION SELECT cycle FROM dream_cycles UNION"
                    f" SELECT thread_id FROM checkpoints WHERE {_GRAPH} IN ('optimization', 'dream')"
                )
                self._threads({row["thread_id"] for row in rows} - set(waiting))
                for table in ("writes", "checkpoints"):
                    self._file.connection.execute(
                        f"DELETE FROM {table} WHERE thread_id IN (SELECT value FROM json_each(?1)) AND checkpoint_id <"
                        " (SELECT max(c.checkpoint_id) FROM checkpoints c WHERE c.thread_id = "
                        f"{table}.thread_id AND c.checkpoint_ns = {table}.checkpoint_ns)",
                        (json.dumps(list(waiting)),),
                    )
            for table in ("optimization_runs", "dream_cycles") if quotes else ():
                for row in self._file.rows(f"SELECT rowid, report FROM {table}"):
                    report = _without(json.loads(row["report"]), quotes)
                    if report != json.loads(row["report"]):
                        self._file.connection.execute(
                            f"UPDATE {table} SET report = ? WHERE rowid = ?",
                            (json.dumps(report, ensure_ascii=False, separators=(",", ":")), row["rowid"]),
                        )

    def empty_log(self) -> None:
        """Fold SQLite's log into the file and empty it.

        Raises:
            GymError: somebody reads an earlier state of the file all the while.
        """
        until = time.monotonic() + SECONDS_FOR_READERS
        while not self._file.log_is_empty():
            if time.monotonic() > until:
                raise GymError(
                    f"gym {self._file.path}: another program reads it, so that its log cannot be emptied;"
                    " the rows are erased; run `understudy forget --rewrite` when that one has ended"
                )
            time.sleep(0.1)

    def rewrite(self) -> None:
        """Write the file anew, so that nothing of what was ever deleted is left in it; others wait meanwhile.

        Raises:
            GymError: there is no room for a second copy of the file, or its log cannot be emptied.
        """
        self._file.rows("VACUUM")
        self.empty_log()


def _without(value: Any, quotes: Collection[str]) -> Any:
    """Return a JSON value without the texts in it that hold one of the quotes."""
    if isinstance(value, str):
        return "[erased]" if any(quote in value for quote in quotes) else value
    if isinstance(value, list):
        return [_without(one, quotes) for one in value]
    return {key: _without(one, quotes) for key, one in value.items()} if isinstance(value, dict) else value
