"""The gym: the one SQLite file that remembers, and the SQL that writes and reads events, decisions and evidence.

That on what examples are made of is in material.py, that on optimisations in runs.py, on A/B tests in trials.py, on
dreams in dreams.py, on jobs in jobs.py; what erases is in erasure.py, what shows pages of it in browsing.py.
"""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from typing import Any

from sqlite_utils import Database

from understudy.checkpoints.browsing import Browsing
from understudy.checkpoints.dreams import Dreams
from understudy.checkpoints.erasure import Erasure
from understudy.checkpoints.file import GymFile, now
from understudy.checkpoints.jobs import Jobs
from understudy.checkpoints.material import Material
from understudy.checkpoints.rows import JSON_COLUMNS, decision_of, dump, event_of, line_of
from understudy.checkpoints.runs import Runs
from understudy.checkpoints.trials import Trials
from understudy.events import SOURCES, BrainDecision, Event, Line, Outcome

_LATER = ("response_sent", "action_taken", "user_response", "workflow_outcome", "user_satisfaction")
_COLUMNS = tuple(name for name in BrainDecision.model_fields if name not in _LATER)
_EVENT = "id, seq, kind, turn, message_id, text, action, payload, at"
_SUGGESTION = (
    "profile", "original_message", "personalized_message", "modifications", "confidence", "reasoning", "status",
    "reason", "version", "model", "tokens", "ms",
)  # fmt: skip
_NEXT = (
    "(SELECT 1 + max(coalesce((SELECT max(id) FROM {0}), 0),"
    " coalesce((SELECT newest FROM erased_rows WHERE name = '{0}'), 0)))"
)
"""The id of the next row: one that was erased is not given again, since others remember how far they have read."""

_ROLES = {"customer_message": "customer", "agent_message": "agent"}
_SCORE = {"success": 1.0, "failure": 0.0, "abandoned": 0.0}

_UPSERT = (
    f"INSERT INTO brain_decisions ({', '.join(_COLUMNS)}) VALUES ({', '.join(':' + c for c in _COLUMNS)}) "
    "ON CONFLICT (decision_id) DO UPDATE SET "
    + ", ".join(f"{c} = excluded.{c}" for c in _COLUMNS if c not in ("decision_id", "created_at"))
)


class Gym(GymFile):
    """Remembers events, decisions and evidence in one file; thread-safe."""

    @cached_property
    def trials(self) -> Trials:
        """The A/B tests."""
        return Trials(self)

    @cached_property
    def dreams(self) -> Dreams:
        """The dreams."""
        return Dreams(self)

    @cached_property
    def material(self) -> Material:
        """What examples are made of."""
        return Material(self)

    @cached_property
    def runs(self) -> Runs:
        """The optimisations."""
        return Runs(self)

    @cached_property
    def jobs(self) -> Jobs:
        """What runs by itself."""
        return Jobs(self)

    @cached_property
    def browsing(self) -> Browsing:
        """What people look at, page by page."""
        return Browsing(self)

    @cached_property
    def erasure(self) -> Erasure:
        """What erases."""
        return Erasure(self)

    # The log

    def append(self, conversation_id: str, events: Sequence[Event], profile: str) -> list[Event]:
        """Write what happened and return those that are new, numbered; a message_id that is there already is skipped.

        A conversation keeps the profile it began with.
        """
        with self.writing():
            row = self.row(
                "SELECT seq, turn, profile FROM events WHERE conversation_id = ? ORDER BY seq DESC LIMIT 1",
                conversation_id,
            )
            seq, turn, profile = (row["seq"] + 1, row["turn"], row["profile"]) if row else (0, None, profile)
            new: list[Event] = []
            for event in events:
                if event.kind == "customer_message":
                    turn = 0 if turn is None else turn + 1
                role = _ROLES.get(event.kind)
                cursor = self.connection.execute(
                    "INSERT INTO events"
                    " (id, conversation_id, seq, kind, turn, message_id, role, text, action, payload, profile, at)"
                    f" VALUES ({_NEXT.format('events')}, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
                    " ON CONFLICT (conversation_id, message_id) WHERE message_id IS NOT NULL DO NOTHING",
                    (conversation_id, seq, event.kind, turn, event.message_id, role, event.text, event.action,
                     dump(event.payload) if event.payload else None, profile, event.at),
                )  # fmt: skip
                if cursor.rowcount:
                    new.append(replace(event, id=cursor.lastrowid or 0, seq=seq, turn=turn))
                    seq += 1
                elif event.kind == "customer_message":
                    turn = turn - 1 if turn else None
            return new

    def pending(self, conversation_id: str, upto: int | None = None) -> list[Event]:
        """Return one turn's worth of events that wait, oldest first.

        It ends before the second customer message, so that every one of them gets a decision of its own.
        """
        rows = self.rows(
            f"SELECT {_EVENT} FROM events WHERE conversation_id = ?1 AND processed_at IS NULL AND seq <= ?2"
            " AND seq < coalesce((SELECT seq FROM events WHERE conversation_id = ?1 AND processed_at IS NULL"
            "  AND kind = 'customer_message' ORDER BY seq LIMIT 1 OFFSET 1), 1 << 62) ORDER BY seq",
            conversation_id,
            (1 << 62) if upto is None else upto,
        )
        return [event_of(row) for row in rows]

    def turns_waiting(self, conversation_id: str) -> list[int]:
        """Return the sequence numbers that a caller gives as `upto` to run the waiting turns one by one."""
        rows = self.rows(
            "SELECT seq, kind FROM events WHERE conversation_id = ? AND processed_at IS NULL ORDER BY seq",
            conversation_id,
        )
        starts = [row["seq"] for row in rows if row["kind"] == "customer_message"]
        return [start - 1 for start in starts[1:]] + [rows[-1]["seq"]] if rows else []

    def inbox(self) -> list[str]:
        """Return the conversations in which something waits, oldest first."""
        rows = self.rows(
            "SELECT conversation_id FROM events WHERE processed_at IS NULL GROUP BY conversation_id ORDER BY min(id)"
        )
        return [row["conversation_id"] for row in rows]

    def history(self, conversation_id: str, before: int, limit: int) -> list[Line]:
        """Return the first message and at least the newest `limit` messages with a seq below `before`, oldest first.

        The oldest leave in blocks of a fifth of the limit: until a block is full its messages are still there, so that
        the beginning of a long conversation's history, which a model server has read before, changes only then.
        """
        rows = self.rows(
            "WITH newest AS (SELECT seq FROM events WHERE conversation_id = ?1 AND seq < ?2 AND role IS NOT NULL"
            "  ORDER BY seq DESC LIMIT 1 OFFSET ?3 - 1),"
            " kept AS (SELECT coalesce((SELECT seq / ?4 * ?4 FROM newest), 0) AS since)"
            " SELECT seq, role, text, action FROM events, kept"
            "  WHERE conversation_id = ?1 AND seq >= since AND seq < ?2 AND role IS NOT NULL"
            " UNION SELECT * FROM (SELECT seq, role, text, action FROM events"
            "  WHERE conversation_id = ?1 AND seq < ?2 AND role IS NOT NULL ORDER BY seq LIMIT 1)"
            " ORDER BY seq",
            conversation_id, before, limit, max(1, limit // 5),
        )  # fmt: skip
        return [line_of(row) for row in rows]

    def messages(self, conversation_id: str, upto: int, limit: int) -> list[Event]:
        """Return the newest `limit` messages with a seq of at most `upto`, oldest first."""
        rows = self.rows(
            f"SELECT {_EVENT} FROM events WHERE conversation_id = ? AND seq <= ? AND role IS NOT NULL"
            " ORDER BY seq DESC LIMIT ?",
            conversation_id, upto, limit,
        )  # fmt: skip
        return [event_of(row) for row in reversed(rows)]

    def customer_message(self, conversation_id: str, turn: int) -> Event | None:
        """Return the customer message with which a turn began, or None when there is no such turn."""
        row = self.row(
            f"SELECT {_EVENT} FROM events WHERE conversation_id = ? AND turn = ? AND kind = 'customer_message'",
            conversation_id, turn,
        )  # fmt: skip
        return event_of(row) if row else None

    def profile_of(self, conversation_id: str) -> str | None:
        """Return the profile that the conversation began with, or None when it is unknown."""
        row = self.row("SELECT profile FROM events WHERE conversation_id = ? LIMIT 1", conversation_id)
        return row["profile"] if row else None

    def known_ids(self, conversation_id: str, message_ids: Sequence[str]) -> set[str]:
        """Return those of the message ids that the log has."""
        rows = self.rows(
            "SELECT message_id FROM events WHERE conversation_id = ?"
            " AND message_id IN (SELECT value FROM json_each(?))",
            conversation_id, json.dumps(message_ids),
        )  # fmt: skip
        return {row["message_id"] for row in rows}

    def role_of(self, conversation_id: str, message_id: str) -> str | None:
        """Return who has said the message with that id, or None when the log has none."""
        row = self.row(
            "SELECT role FROM events WHERE conversation_id = ? AND message_id = ?", conversation_id, message_id
        )
        return row["role"] if row else None

    def first_payload(self, conversation_id: str) -> dict[str, Any] | None:
        """Return what came with the conversation's first event, or None when the conversation is unknown."""
        row = self.row("SELECT payload FROM events WHERE conversation_id = ? AND seq = 0", conversation_id)
        return json.loads(row["payload"] or "{}") if row else None

    def has_turn(self, conversation_id: str, turn: int) -> bool:
        """Say whether the conversation has that turn."""
        row = self.row("SELECT turn FROM events WHERE conversation_id = ? ORDER BY seq DESC LIMIT 1", conversation_id)
        return row is not None and row["turn"] is not None and 0 <= turn <= row["turn"]

    # What the graph writes

    def record(self, decision: BrainDecision | None, conversation_id: str, events: Sequence[Event]) -> bool:
        """Write the decision and all that the events say of this and earlier turns, and take them off the inbox.

        One transaction; doing it again writes the same rows. The events are those of `pending`. Nothing is written when
        the decision's message has been erased while it was read: then it returns False.
        """
        told = {e.turn - (e.kind == "customer_message") for e in events if e.text is not None and e.turn is not None}
        with self.writing():
            if decision is not None:
                if decision.message_id not in self.known_ids(conversation_id, [decision.message_id]):
                    return False
                row = decision.model_dump(include=set(_COLUMNS))
                self.connection.execute(_UPSERT, {k: dump(v) if k in JSON_COLUMNS else v for k, v in row.items()})
                told.add(decision.turn)
            for turn in sorted(told - {-1}):
                self._fill(conversation_id, turn)
            for event in events:
                if event.kind == "outcome":
                    self._close(conversation_id, event)
                self._draw(conversation_id, event)
            if events:
                self.connection.execute(
                    "UPDATE events SET processed_at = ?"
                    " WHERE conversation_id = ? AND seq BETWEEN ? AND ? AND processed_at IS NULL",
                    (now(), conversation_id, events[0].seq, events[-1].seq),
                )
        return True

    def learn(self, conversation_id: str, labels: Sequence[Event], profile: str) -> list[Event]:
        """Write labels to the log and draw their evidence: all of them, or none; return them as they were written."""
        with self.writing():
            written = self.append(conversation_id, labels, profile)
            self.record(None, conversation_id, written)
        return written

    def _fill(self, conversation_id: str, turn: int) -> None:
        """Fill in what followed the turn, from the log."""
        self.connection.execute(
            "UPDATE brain_decisions SET"
            " response_sent = (SELECT group_concat(text, char(10)) FROM (SELECT text FROM events"
            "  WHERE conversation_id = ?1 AND turn = ?2 AND kind = 'agent_message' ORDER BY seq)),"
            " action_taken = (SELECT action FROM events WHERE conversation_id = ?1 AND turn = ?2"
            "  AND kind = 'agent_message' AND action IS NOT NULL ORDER BY seq LIMIT 1),"
            " user_response = (SELECT text FROM events WHERE conversation_id = ?1 AND turn = ?2 + 1"
            "  AND kind = 'customer_message' LIMIT 1)"
            " WHERE conversation_id = ?1 AND turn = ?2",
            (conversation_id, turn),
        )

    def _close(self, conversation_id: str, event: Event) -> None:
        """Write how it ended on all turns so far, and what that says of the customer's satisfaction."""
        outcome = Outcome.model_validate({k: event.payload.get(k) for k in Outcome.model_fields})
        self.connection.execute(
            "UPDATE brain_decisions SET workflow_outcome = coalesce(?, workflow_outcome),"
            " user_satisfaction = coalesce(?, user_satisfaction) WHERE conversation_id = ?",
            (outcome.workflow_outcome, outcome.user_satisfaction, conversation_id),
        )
        score = outcome.user_satisfaction
        if score is None and outcome.workflow_outcome is not None:
            score = _SCORE[outcome.workflow_outcome]
        if score is not None:
            for turn in range((-1 if event.turn is None else event.turn) + 1):
                self._believe(conversation_id, turn, "user_satisfaction", score, "outcome", event)

    def _draw(self, conversation_id: str, event: Event) -> None:
        """Draw the evidence that the event carries."""
        if event.kind == "agent_message" and event.turn is not None:
            self._believe(conversation_id, event.turn, "proposed_response", event.text, "hindsight", event)
            if event.action:
                self._believe(conversation_id, event.turn, "next_step", event.action, "hindsight", event)
        elif event.kind == "label":
            source = "teacher" if event.payload.get("source") == "teacher" else "human"
            for field, value in event.payload["fields"].items():
                self._believe(conversation_id, event.payload["turn"], field, value, source, event)
            if "was_better" in event.payload["fields"]:
                self._review(conversation_id, event.payload["turn"])

    def _believe(self, conversation_id: str, turn: int, field: str, value: Any, source: str, event: Event) -> None:
        self.connection.execute(
            "INSERT INTO evidence (id, event_id, conversation_id, turn, field, value, source, author, at)"
            f" VALUES ({_NEXT.format('evidence')}, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING",
            (event.id, conversation_id, turn, field, dump(value), source, event.payload.get("author"),
             event.at or now()),
        )  # fmt: skip

    def suggest(self, conversation_id: str, reply: Event, row: Mapping[str, Any]) -> None:
        """Write what a personal touch would have changed in a reply; said again it replaces what was said.

        What a reviewer has said of the turn's suggestion stays with it.
        """
        values = {name: row.get(name) for name in _SUGGESTION} | {"modifications": dump(row["modifications"])}
        values |= {"conversation_id": conversation_id, "turn": reply.turn, "message_id": reply.message_id, "at": now()}
        columns = ("conversation_id", "turn", "message_id", *_SUGGESTION, "at")
        with self.writing():
            self.connection.execute(
                f"INSERT INTO personalization_suggestions ({', '.join(columns)})"
                f" VALUES ({', '.join(':' + name for name in columns)}) ON CONFLICT (conversation_id, message_id)"
                f" DO UPDATE SET {', '.join(f'{name} = excluded.{name}' for name in (*_SUGGESTION, 'at'))}",
                values,
            )
            self._review(conversation_id, reply.turn)

    def _review(self, conversation_id: str, turn: int | None) -> None:
        """Note beside the suggestions of a turn what a reviewer has said of them last."""
        self.connection.execute(
            "UPDATE personalization_suggestions SET (was_better, reviewer) = (SELECT json(value) = json('true'), author"
            "  FROM evidence WHERE conversation_id = ?1 AND turn = ?2 AND field = 'was_better' AND source = 'human'"
            "  ORDER BY id DESC LIMIT 1) WHERE conversation_id = ?1 AND turn = ?2",
            (conversation_id, turn),
        )

    # What people and programs ask

    def suggestions(self, conversation_id: str | None, status: str | None, limit: int) -> list[dict[str, Any]]:
        """Return the newest suggestions first, of one conversation or of all, with one status or with any."""
        rows = self.rows(
            "SELECT * FROM personalization_suggestions WHERE conversation_id = coalesce(?1, conversation_id)"
            " AND status = coalesce(?2, status) ORDER BY id DESC LIMIT ?3",
            conversation_id, status, limit,
        )  # fmt: skip
        return [{**dict(row), "modifications": json.loads(row["modifications"])} for row in rows]

    def events_at(self, conversation_id: str, seqs: Sequence[int]) -> list[Event]:
        """Return events of a conversation by their sequence numbers, oldest first."""
        rows = self.rows(
            f"SELECT {_EVENT} FROM events WHERE conversation_id = ? AND seq IN (SELECT value FROM json_each(?))"
            " ORDER BY seq",
            conversation_id, json.dumps(seqs),
        )  # fmt: skip
        return [event_of(row) for row in rows]

    def first_reply(self, conversation_id: str, turn: int) -> str | None:
        """Return the first message that the agent sent in a turn."""
        row = self.row(
            "SELECT text FROM events WHERE conversation_id = ? AND turn = ? AND kind = 'agent_message'"
            " ORDER BY seq LIMIT 1",
            conversation_id, turn,
        )  # fmt: skip
        return row["text"] if row else None

    def customer(self, conversation_id: str, upto: int) -> dict[str, Any] | None:
        """Return what the host last said of the customer, in events with a seq of at most `upto`."""
        row = self.row(
            "SELECT json_extract(payload, '$.customer') AS customer FROM events WHERE conversation_id = ? AND seq <= ?"
            " AND payload IS NOT NULL AND customer IS NOT NULL ORDER BY seq DESC LIMIT 1",
            conversation_id, upto,
        )  # fmt: skip
        return dict(json.loads(row["customer"])) if row else None

    def requeue_unsaved(self, newest: int = 256) -> int:
        """Put turns back into the inbox whose run was killed between its row and its checkpoint; return how many.

        Only the newest decisions can be such; a run without a checkpoint of ours has no run_id. A turn that a living
        process answers a second time, for an A/B test, has its checkpoint still to come.
        """
        if not Database(self.connection).table("checkpoints").exists():
            return 0
        with self.writing():
            return self.connection.execute(
                "UPDATE events SET processed_at = NULL WHERE (conversation_id, message_id) IN ("
                " SELECT d.conversation_id, d.message_id FROM"
                "  (SELECT * FROM brain_decisions ORDER BY rowid DESC LIMIT ?) d"
                " WHERE d.run_id IS NOT NULL AND d.conversation_id NOT IN (SELECT value FROM json_each(?))"
                "  AND NOT EXISTS (SELECT 1 FROM checkpoints c WHERE c.thread_id = d.thread_id"
                "   AND json_extract(CAST(c.metadata AS TEXT), '$.run_id') = d.run_id))",
                (newest, json.dumps(self.trials.at_work())),
            ).rowcount

    def requeue_faults(self) -> int:
        """Put the turns that lack an answer back into the inbox, and return how many."""
        with self.writing():
            return self.connection.execute(
                "UPDATE events SET processed_at = NULL WHERE (conversation_id, message_id) IN ("
                " SELECT conversation_id, message_id FROM brain_decisions WHERE faults <> '[]')"
            ).rowcount

    def decision(self, conversation_id: str, turn: int) -> BrainDecision | None:
        """Return one decision."""
        row = self.row("SELECT * FROM brain_decisions WHERE conversation_id = ? AND turn = ?", conversation_id, turn)
        return decision_of(row) if row else None

    def decisions(self) -> Iterator[BrainDecision]:
        """Yield all decisions in the order they were written, without holding the file's lock between pages."""
        last = 0
        while rows := self.rows("SELECT rowid, * FROM brain_decisions WHERE rowid > ? ORDER BY rowid LIMIT 500", last):
            yield from map(decision_of, rows)
            last = rows[-1]["rowid"]

    def evidence(self, conversation_id: str, turn: int) -> list[dict[str, Any]]:
        """Return what is known of a turn: field, value, source, author, at; oldest first, corrections included."""
        rows = self.rows(
            "SELECT field, value, source, author, at FROM evidence WHERE conversation_id = ? AND turn = ? ORDER BY id",
            conversation_id, turn,
        )  # fmt: skip
        return [{**dict(row), "value": json.loads(row["value"])} for row in rows]

    def truth(self, conversation_id: str, turn: int, *, but: str = "") -> dict[str, Any]:
        """Return the most trusted and then newest value of every field of a turn that has evidence.

        What a source says that is named by `but` is left out.
        """
        order = " ".join(f"WHEN '{source}' THEN {rank}" for rank, source in enumerate(SOURCES))
        rows = self.rows(
            "SELECT field, value FROM evidence WHERE conversation_id = ? AND turn = ? AND source <> ?"
            f" ORDER BY CASE source {order} END DESC, id",
            conversation_id, turn, but,
        )  # fmt: skip
        return {row["field"]: json.loads(row["value"]) for row in rows}

    def counts(self) -> dict[str, int]:
        """Count what the gym holds."""
        return {
            "decisions": self.count("SELECT count(*) FROM brain_decisions"),
            "conversations": self.count("SELECT count(*) FROM events WHERE seq = 0"),
            "backlog": self.count(
                "SELECT count(*) FROM events WHERE processed_at IS NULL AND kind = 'customer_message'"
            ),
        }

    def count_since(self, moment: str | None) -> int:
        """Count the decisions written after a moment (UTC ISO 8601); all of them for None."""
        return self.count("SELECT count(*) FROM brain_decisions WHERE created_at > ?", moment or "")

    def count_evidence(self, fields: Iterable[str]) -> int:
        """Count the turns with evidence for at least one of the fields."""
        wanted = set(fields)
        rows = self.rows("SELECT fields, turns FROM evidence_sets")
        return sum(row["turns"] for row in rows if wanted & set(row["fields"].split(",")))

    def answers(self) -> dict[str, dict[str, dict[str, int]]]:
        """Return by module, version and kind in how many turns an answer came, was repaired, or failed."""
        found: dict[str, dict[str, dict[str, int]]] = {}
        for row in self.rows("SELECT module, version, kind, turns FROM answer_counts WHERE turns > 0"):
            found.setdefault(row["module"], {}).setdefault(row["version"], {})[row["kind"]] = row["turns"]
        return found

    def tally(self, conversation_ids: Sequence[str]) -> dict[str, int]:
        """Count what the gym holds of some conversations."""
        ids = json.dumps(conversation_ids)
        among = "WHERE conversation_id IN (SELECT value FROM json_each(?))"
        return {
            "decisions": self.count(f"SELECT count(*) FROM brain_decisions {among}", ids),
            "faults": self.count(f"SELECT total(json_array_length(faults)) FROM brain_decisions {among}", ids),
            "evidence": self.count(f"SELECT count(*) FROM evidence {among}", ids),
        }

    def recent_latency_ms(self) -> float | None:
        """Return the mean time of the newest 200 turns, in milliseconds."""
        row = self.row(
            "SELECT avg(latency_ms) FROM (SELECT latency_ms FROM brain_decisions ORDER BY rowid DESC LIMIT 200)"
        )
        return row[0] if row else None

    def check(self) -> str:
        """Return SQLite's own word on the file: `ok`, or what is damaged."""
        return "; ".join(row[0] for row in self.rows("PRAGMA quick_check(5)"))
