"""What people look at in the gym, page by page, and every SQL statement on it.

Pages are asked for by where the last one ended: each row comes once, whatever is written or erased meanwhile.
"""

import json
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from understudy.checkpoints.file import GymFile
from understudy.checkpoints.rows import JSON_COLUMNS
from understudy.events import WorkflowOutcome

MOST_OF_A_KIND = 50
"""Rows of evidence, suggestions and answers of A/B tests that are shown of a turn; the newest."""

_AT_ONCE = 10
"""Events that are read at a time: a page ends by how much they say, and each may be long."""

_DECISION = (
    "decision_id", "conversation_id", "turn", "message_id", "profile", "created_at", "history_upto",
    "state_snapshot", "conflict_type", "conflict_confidence", "intent", "next_step", "intent_confidence",
    "quality_score", "user_satisfaction_predicted", "tone", "response_confidence", "readings", "faults", "versions",
    "models", "tokens_in", "tokens_out", "latency_ms", "engine", "brain_mode", "thread_id", "run_id",
    "action_taken", "workflow_outcome", "user_satisfaction",
)  # fmt: skip
_TEXTS = ("user_message", "proposed_response", "response_sent", "user_response")
_RUN = "json_extract(CAST(c.metadata AS TEXT), '$.run_id')"
_SAID = "seq, kind, turn, message_id, text, action, payload, at, processed_at"


@dataclass(frozen=True)
class Decisions:
    """Which decisions are wanted; None wants all. Moments are UTC, ISO 8601."""

    profile: str | None = None
    conversation_id: str | None = None
    module: str | None = None
    version: str | None = None
    """Of that module."""
    faults: bool | None = None
    intent: str | None = None
    conflict_type: str | None = None
    labelled: bool | None = None
    """Whether a person has said what is true of the turn."""
    since: str | None = None
    until: str | None = None

    def conditions(self) -> Iterator[tuple[str, tuple[Any, ...]]]:
        """Yield what must hold of a row `d`, and the values in it."""
        for name in ("profile", "conversation_id", "intent", "conflict_type"):
            if (value := getattr(self, name)) is not None:
                yield f"d.{name} = ?", (value,)
        if self.module is not None:
            # The gym writes its JSON without blanks; to look for the text is ten times faster than to read it.
            yield "instr(d.versions, ?)", (json.dumps({self.module: self.version}, separators=(",", ":"))[1:-1],)
        if self.since is not None:
            yield "d.created_at >= ?", (self.since,)
        if self.until is not None:
            yield "d.created_at < ?", (self.until,)
        if self.faults is not None:
            faulty = "SELECT rowid FROM brain_decisions INDEXED BY brain_decisions_faults WHERE faults <> '[]'"
            yield f"d.rowid {_among(self.faults)} ({faulty})", ()
        if self.labelled is not None:
            labels = "SELECT conversation_id, turn FROM evidence INDEXED BY evidence_labelled WHERE source = 'human'"
            yield f"(d.conversation_id, d.turn) {_among(self.labelled)} ({labels})", ()


@dataclass(frozen=True)
class Conversations:
    """Which conversations are wanted; None wants all. `open` are those that the host has not ended."""

    profile: str | None = None
    prefix: str | None = None
    outcome: WorkflowOutcome | Literal["open"] | None = None
    faults: bool | None = None

    def conditions(self) -> Iterator[tuple[str, tuple[Any, ...]]]:
        """Yield what must hold of the first event `f` of a conversation, and the values in it."""
        if self.profile is not None:
            yield "f.profile = ?", (self.profile,)
        if self.prefix is not None:
            yield "substr(f.conversation_id, 1, ?) = ?", (len(self.prefix), self.prefix)
        of_it = "conversation_id = f.conversation_id"
        if self.outcome == "open":
            yield f"NOT EXISTS (SELECT 1 FROM events WHERE {of_it} AND kind = 'outcome')", ()
        elif self.outcome is not None:
            ended = f"SELECT 1 FROM brain_decisions WHERE {of_it} AND turn = 0 AND workflow_outcome = ?"
            yield f"EXISTS ({ended})", (self.outcome,)
        if self.faults is not None:
            faulty = f"EXISTS (SELECT 1 FROM brain_decisions WHERE {of_it} AND faults <> '[]')"
            yield faulty if self.faults else f"NOT {faulty}", ()


class Browsing:
    """What a gym shows; thread-safe."""

    def __init__(self, file: GymFile) -> None:
        self._file = file

    def decisions(self, which: Decisions, before: tuple[str, str] | None, limit: int) -> list[tuple[str, str]]:
        """Return moment and id of decisions, newest first, those before a moment and an id."""
        conditions = list(which.conditions())
        if before is not None:
            conditions.append(("(d.created_at, d.decision_id) < (?, ?)", before))
        index = "newest" if which.conversation_id is None else "turn"
        rows = self._file.rows(
            f"SELECT d.created_at, d.decision_id FROM brain_decisions d INDEXED BY brain_decisions_{index}"
            f"{_where(conditions)} ORDER BY d.created_at DESC, d.decision_id DESC LIMIT ?",
            *(value for _, values in conditions for value in values), limit,
        )  # fmt: skip
        return [(row["created_at"], row["decision_id"]) for row in rows]

    def profiles(self) -> list[str]:
        """Return the profiles of which there have been decisions."""
        return [row["profile"] for row in self._file.rows("SELECT profile FROM decision_counts ORDER BY profile")]

    def decision(self, decision_id: str, most: int) -> dict[str, Any] | None:
        """Return a decision with at most so many characters of each text, or None when it has been erased."""
        texts = ", ".join(f"substr({name}, 1, ?2) AS {name}" for name in _TEXTS)
        row = self._file.row(
            f"SELECT {', '.join(_DECISION)}, {texts} FROM brain_decisions WHERE decision_id = ?1", decision_id, most
        )
        return _decision(row) if row else None

    def conversations(self, which: Conversations, before: int | None, limit: int, most: int) -> list[dict[str, Any]]:
        """Return conversations, those that began last first, with `most` characters of their first message.

        Each has its `row`; `before` takes those that began before a row.
        """
        conditions = list(which.conditions())
        if before is not None:
            conditions.append(("f.id < ?", (before,)))
        rows = self._file.rows(
            f"SELECT f.conversation_id FROM events f INDEXED BY events_first{_where(conditions, 'f.seq = 0')}"
            " ORDER BY f.id DESC LIMIT ?",
            *(value for _, values in conditions for value in values), limit,
        )  # fmt: skip
        found = (self.conversation(row["conversation_id"], most) for row in rows)
        return [one for one in found if one]

    def conversation(self, conversation_id: str, most: int) -> dict[str, Any] | None:
        """Return what a conversation is in short, or None when there is none.

        Returns:
            row, conversation_id, profile, first_message (at most so many characters), began_at and last_at (None if the
            recording does not say), events, turns, waiting (turns that have not been read), faulty (turns that lack an
            answer), is_closed (the host said how it ended), workflow_outcome, user_satisfaction, thread_id.
        """
        of_it = "conversation_id = ?1"
        row = self._file.row(
            "SELECT f.id AS row, f.conversation_id, f.profile, f.at AS began_at,"
            f" (SELECT substr(text, 1, ?2) FROM events WHERE {of_it} AND role IS NOT NULL ORDER BY seq LIMIT 1)"
            "  AS first_message,"
            " coalesce(l.at, l.processed_at) AS last_at, l.seq + 1 AS events, coalesce(l.turn + 1, 0) AS turns,"
            f" (SELECT count(*) FROM events WHERE {of_it} AND processed_at IS NULL AND kind = 'customer_message')"
            "  AS waiting,"
            f" (SELECT count(*) FROM brain_decisions WHERE {of_it} AND faults <> '[]') AS faulty,"
            f" EXISTS (SELECT 1 FROM events WHERE {of_it} AND kind = 'outcome') AS is_closed,"
            " d.workflow_outcome, d.user_satisfaction, d.thread_id"
            " FROM events f CROSS JOIN events l ON l.conversation_id = f.conversation_id"
            " LEFT JOIN brain_decisions d ON d.conversation_id = f.conversation_id AND d.turn = 0"
            " WHERE f.conversation_id = ?1 AND f.seq = 0 ORDER BY l.seq DESC LIMIT 1",
            conversation_id, most,
        )  # fmt: skip
        return {**dict(row), "is_closed": bool(row["is_closed"])} if row else None

    def seq_of(self, conversation_id: str, turn: int) -> int | None:
        """Return the sequence number of a turn's customer message."""
        row = self._file.row(
            "SELECT seq FROM events WHERE conversation_id = ? AND turn = ? ORDER BY seq LIMIT 1", conversation_id, turn
        )
        return row["seq"] if row else None

    def events(self, conversation_id: str, after: int, limit: int, most: int) -> list[dict[str, Any]]:
        """Return what happened in a conversation behind a sequence number, in order.

        Args:
            conversation_id: the conversation.
            after: -1 begins at the beginning.
            limit: how many events at most.
            most: characters of text and payload from which on no more are taken; there is always one event.
        """
        found: list[dict[str, Any]] = []
        size = 0
        while len(found) < limit:
            rows = self._file.rows(
                f"SELECT {_SAID} FROM events WHERE conversation_id = ? AND seq > ? ORDER BY seq LIMIT ?",
                conversation_id, after, min(_AT_ONCE, limit - len(found)),
            )  # fmt: skip
            for row in rows:
                size += len(row["text"] or "") + len(row["payload"] or "")
                if found and size > most:
                    return found
                found.append({**dict(row), "payload": json.loads(row["payload"] or "{}")})
                after = row["seq"]
            if len(rows) < _AT_ONCE:
                break
        return found

    def turns(self, conversation_id: str, turns: Sequence[int]) -> dict[int, dict[str, Any]]:
        """Return the decisions of turns without their texts, which those of events and of readings are."""
        rows = self._file.rows(
            f"SELECT {', '.join(_DECISION)} FROM brain_decisions"
            " WHERE conversation_id = ? AND turn IN (SELECT value FROM json_each(?))",
            conversation_id, json.dumps(turns),
        )  # fmt: skip
        return {row["turn"]: _decision(row) for row in rows}

    def evidence(self, conversation_id: str, turns: Sequence[int], most: int) -> dict[int, list[dict[str, Any]]]:
        """Return by turn its newest evidence, oldest first; of a value of over `most` characters, its `beginning`."""
        rows = self._file.rows(
            "SELECT turn, field, CASE WHEN length(value) <= ?3 THEN value END AS value,"
            " CASE WHEN length(value) > ?3 THEN substr(value, 1, ?3) END AS beginning, source, author, at"
            " FROM evidence WHERE id IN (SELECT id FROM (SELECT id,"
            "   row_number() OVER (PARTITION BY turn ORDER BY id DESC) AS place FROM evidence"
            "   WHERE conversation_id = ?1 AND turn IN (SELECT value FROM json_each(?2)))"
            f"  WHERE place <= {MOST_OF_A_KIND}) ORDER BY id",
            conversation_id, json.dumps(turns), most,
        )  # fmt: skip
        return _by_turn({**dict(row), "value": _load(row["value"])} for row in rows)

    def suggestions(self, conversation_id: str, message_ids: Sequence[str]) -> dict[str, dict[str, Any]]:
        """Return by its message what a personal touch would have changed in a reply."""
        rows = self._file.rows(
            "SELECT message_id, personalized_message, modifications, confidence, reasoning, status, reason, version,"
            " model, was_better, reviewer, at FROM personalization_suggestions"
            " WHERE conversation_id = ? AND message_id IN (SELECT value FROM json_each(?))",
            conversation_id, json.dumps(message_ids),
        )  # fmt: skip
        return {row["message_id"]: {**dict(row), "modifications": json.loads(row["modifications"])} for row in rows}

    def pairs(self, conversation_id: str, turns: Sequence[int]) -> dict[int, list[dict[str, Any]]]:
        """Return by turn what both versions of A/B tests said."""
        rows = self._file.rows(
            "SELECT r.turn, r.test, t.module, t.variant_a, t.variant_b, r.answer_a, r.answer_b, r.fault_a, r.fault_b,"
            " r.score_a, r.score_b FROM ab_conversations c CROSS JOIN ab_results r ON r.test = c.test"
            "  AND r.conversation_id = c.conversation_id CROSS JOIN ab_tests t ON t.name = r.test"
            " WHERE c.conversation_id = ? AND r.turn IN (SELECT value FROM json_each(?)) ORDER BY t.started_at, r.turn",
            conversation_id, json.dumps(turns),
        )  # fmt: skip
        pairs = _by_turn({**dict(row), **{name: _load(row[name]) for name in ("answer_a", "answer_b")}} for row in rows)
        return {turn: found[-MOST_OF_A_KIND:] for turn, found in pairs.items()}

    def checkpoints(self, runs: Mapping[str, str]) -> dict[str, str]:
        """Return by its run the newest checkpoint in a thread; runs are given with their threads."""
        if not self._file.row("SELECT 1 FROM sqlite_master WHERE name = 'checkpoints_run'"):
            return {}
        rows = self._file.rows(
            "SELECT r.key AS run_id, max(c.checkpoint_id) AS checkpoint_id FROM json_each(?) r CROSS JOIN checkpoints c"
            f" INDEXED BY checkpoints_run ON {_RUN} = r.key AND c.thread_id = r.value AND c.checkpoint_ns = ''"
            " GROUP BY r.key",
            json.dumps(runs),
        )
        return {row["run_id"]: row["checkpoint_id"] for row in rows}


def _where(conditions: Sequence[tuple[str, tuple[Any, ...]]], *more: str) -> str:
    wanted = (*more, *(condition for condition, _ in conditions))
    return f" WHERE {' AND '.join(wanted)}" if wanted else ""


def _among(wanted: bool) -> str:
    return "IN" if wanted else "NOT IN"


def _decision(row: sqlite3.Row) -> dict[str, Any]:
    return {**dict(row), **{name: _load(row[name]) for name in JSON_COLUMNS}}


def _by_turn(rows: Iterator[dict[str, Any]]) -> dict[int, list[dict[str, Any]]]:
    found: dict[int, list[dict[str, Any]]] = {}
    for row in rows:
        found.setdefault(row["turn"], []).append(row)
    return found


def _load(text: str | None) -> Any:
    return None if text is None else json.loads(text)
