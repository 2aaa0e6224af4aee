"""What erases conversations from the gym, and every SQL statement on it.

Deleted rows are overwritten (PRAGMA secure_delete). Copies that SQLite has left in unused parts of pages, as when it
moved rows from a full page to a new one, go when the file is written anew (`rewrite`).
"""

import json
import time
from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from typing import Any
from uuid import uuid4

from understudy.checkpoints.file import GymError, GymFile

PIECE = 50
"""Rows of a table that are erased in one transaction: others wait for it some milliseconds."""

_PIECES = ("brain_decisions", "evidence", "personalization_suggestions")
_COUNTS_OF = {"brain_decisions": "decisions", "personalization_suggestions": "suggestions"}
_COUNTS = ("events", "decisions", "evidence", "checkpoints", "suggestions", "ab_results")
_LAST = (
    "(SELECT max(min(coalesce(at, processed_at, '9999'), coalesce(processed_at, at, '9999'))) FROM events e"
    " WHERE e.conversation_id = f.conversation_id AND e.kind <> 'label')"
)
"""When something was last said: when it was sent or, if that is not known or lies in the future, when it was read."""

_CONVERSATION, _GRAPH = (
    f"json_extract(CAST(metadata AS TEXT), '$.{name}')" for name in ("conversation_id", "graph_id")
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
            " AND c.type IN ('text', 'integer', 'real') AND CAST(c.value AS TEXT) = ? ORDER BY e.id",
            json.dumps(keys), value,
        )  # fmt: skip
        return [row["conversation_id"] for row in rows]

    def ended_before(self, moment: str, after: int, limit: int) -> tuple[list[str], int | None]:
        """Look at `limit` conversations behind an event's row, for those in which nothing was said since a moment.

        Args:
            moment: UTC ISO 8601.
            after: the row that the last call returned; 0 to begin.
            limit: how many are looked at.

        Returns:
            The conversations, and the row to go on behind; None when all have been looked at.
        """
        rows = self._file.rows(
            f"SELECT f.id, f.conversation_id, {_LAST} < ? AS gone FROM events f WHERE f.seq = 0 AND f.id > ?"
            " ORDER BY f.id LIMIT ?",
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

    def conversation(self, conversation_id: str, thread_id: str, silent_since: str | None = None) -> dict[str, int]:
        """Erase all rows of a conversation and return how many of what; a long one goes in pieces, its log last.

        What it has brought to an A/B test stays as numbers, without saying whose they are: else the test's verdict and
        its guardrails could not be told any more.

        Args:
            conversation_id: as the host calls it.
            thread_id: LangGraph's thread of it; others in which it was read are found.
            silent_since: nothing is erased if something was said since that moment (UTC ISO 8601).
        """
        found: Counter[str] = Counter()
        is_whole = False
        while not is_whole:
            with self._file.writing():
                if silent_since is not None and not self._is_silent(conversation_id, silent_since):
                    break
                self.note_newest()
                is_whole = self._piece(conversation_id, thread_id, found)
                if is_whole:
                    self._rest(conversation_id, found)
        return {name: found[name] for name in _COUNTS}

    def note_newest(self) -> None:
        """Keep the highest numbers that were given, so that none is given again."""
        for name in ("events", "evidence"):
            self._file.connection.execute(
                f"INSERT INTO erased_rows SELECT '{name}', coalesce(max(id), 0) FROM {name} WHERE true"
                " ON CONFLICT (name) DO UPDATE SET newest = max(newest, excluded.newest)"
            )

    def _is_silent(self, conversation_id: str, moment: str) -> bool:
        row = self._file.row(
            f"SELECT {_LAST} < ? FROM events f WHERE f.seq = 0 AND conversation_id = ?", moment, conversation_id
        )
        return bool(row and row[0])

    def _piece(self, conversation_id: str, thread_id: str, found: Counter[str]) -> bool:
        """Erase some rows of each table, and say whether these were the last."""
        threads = [thread_id]
        if self._has_checkpoints():
            rows = self._file.rows(
                f"SELECT DISTINCT thread_id FROM checkpoints WHERE {_CONVERSATION} = ?1 UNION"
                " SELECT thread_id FROM brain_decisions WHERE conversation_id = ?1 AND thread_id IS NOT NULL",
                conversation_id,
            )
            threads = list({thread_id, *(row["thread_id"] for row in rows)})
            left = [self._some(name, "thread_id IN (SELECT value FROM json_each(?))", json.dumps(threads), found)
                    for name in ("checkpoints", "writes")]  # fmt: skip
            if any(left):
                return False  # the decisions tell in which threads the others are
        return not any([self._some(name, "conversation_id = ?", conversation_id, found) for name in _PIECES])

    def _some(self, table: str, which: str, value: str, found: Counter[str]) -> bool:
        """Erase some of a table's rows, and say whether there may be more."""
        count = self._file.connection.execute(
            f"DELETE FROM {table} WHERE rowid IN (SELECT rowid FROM {table} WHERE {which} LIMIT {PIECE})", (value,)
        ).rowcount
        found[_COUNTS_OF.get(table, table)] += count
        return count == PIECE

    def _rest(self, conversation_id: str, found: Counter[str]) -> None:
        execute = self._file.connection.execute
        nobody = f"erased-{uuid4().hex}"
        found["ab_results"] += execute(
            "UPDATE ab_results SET conversation_id = ?, answer_a = NULL, answer_b = NULL,"
            " fault_a = CASE WHEN fault_a IS NOT NULL THEN 'erased' END,"
            " fault_b = CASE WHEN fault_b IS NOT NULL THEN 'erased' END WHERE (test, conversation_id) IN"
            " (SELECT test, conversation_id FROM ab_conversations WHERE conversation_id = ?)",
            (nobody, conversation_id),
        ).rowcount
        execute(
            "UPDATE ab_conversations SET conversation_id = ? WHERE conversation_id = ? AND state = 'entered'",
            (nobody, conversation_id),
        )
        execute(
            "DELETE FROM conversation_bands WHERE side_id IN"
            " (SELECT id FROM conversation_sides WHERE conversation_id = ?)",
            (conversation_id,),
        )
        for name in ("conversation_sides", "ab_conversations", "ab_asked"):
            execute(f"DELETE FROM {name} WHERE conversation_id = ?", (conversation_id,))
        found["events"] += execute("DELETE FROM events WHERE conversation_id = ?", (conversation_id,)).rowcount

    def _threads(self, thread_ids: Iterable[str]) -> None:
        """Erase the checkpoints of threads."""
        for table in ("writes", "checkpoints"):
            self._file.connection.execute(
                f"DELETE FROM {table} WHERE thread_id IN (SELECT value FROM json_each(?))",
                (json.dumps(list(thread_ids)),),
            )

    def _has_checkpoints(self) -> bool:
        return bool(self._file.row("SELECT 1 FROM sqlite_master WHERE name = 'checkpoints'"))

    def threads_of_runs(self) -> list[str]:
        """Return the threads of optimisations and dream cycles; it looks at every checkpoint."""
        if not self._has_checkpoints():
            return []
        rows = self._file.rows(
            "SELECT run_id AS thread_id FROM optimization_runs UNION SELECT cycle FROM dream_cycles UNION"
            f" SELECT thread_id FROM checkpoints WHERE {_GRAPH} IN ('optimization', 'dream')"
        )
        return [row["thread_id"] for row in rows]

    def runs(self, threads: Iterable[str], waiting: Collection[str]) -> None:
        """Erase the checkpoints of optimisations and dream cycles, which may hold what a customer said.

        A run that has not ended begins anew; of one that waits for a person the newest checkpoint stays: what it holds
        has passed the check for customers' words.
        """
        for thread in threads if self._has_checkpoints() else ():
            with self._file.writing():
                if thread not in waiting:
                    self._threads([thread])
                    continue
                for table in ("writes", "checkpoints"):
                    self._file.connection.execute(
                        f"DELETE FROM {table} WHERE thread_id = ?1 AND checkpoint_id < (SELECT max(c.checkpoint_id)"
                        f"  FROM checkpoints c WHERE c.thread_id = ?1 AND c.checkpoint_ns = {table}.checkpoint_ns)",
                        (thread,),
                    )

    def quotes(self, quotes: Collection[str]) -> None:
        """Erase the texts in reports of optimisations and dream cycles that hold one of the quotes."""
        for table in ("optimization_runs", "dream_cycles"):
            for row in self._file.rows(f"SELECT rowid, report FROM {table}"):
                before = json.loads(row["report"])
                if (report := _without(before, quotes)) != before:
                    with self._file.writing():
                        self._file.connection.execute(
                            f"UPDATE {table} SET report = ? WHERE rowid = ?",
                            (json.dumps(report, ensure_ascii=False, separators=(",", ":")), row["rowid"]),
                        )

    def unfinished(self) -> list[str]:
        """Return the optimisations and dream cycles that have not ended."""
        rows = self._file.rows(
            "SELECT run_id FROM optimization_runs WHERE ended_at IS NULL UNION"
            " SELECT cycle FROM dream_cycles WHERE ended_at IS NULL"
        )
        return [row["run_id"] for row in rows]

    def empty_log(self) -> None:
        """Fold SQLite's log into the file and empty it: it may hold what was erased.

        Raises:
            GymError: somebody reads an earlier state of the file all the while.
        """
        until = time.monotonic() + SECONDS_FOR_READERS
        while not self._file.log_is_empty():
            if time.monotonic() > until:
                raise GymError(
                    f"gym {self._file.path}: another program reads it, so that its log cannot be emptied now"
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
