"""What the gym holds of A/B tests, and every SQL statement on it."""

import json
import os
import sqlite3
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

from understudy.checkpoints.file import GymFile, now
from understudy.intake import UnderstudyError

WAITS = "waits for a person: "
"""Begins the consequence of a test that a person has to agree to."""

_RESULT = (
    "first", "answer_a", "answer_b", "fault_a", "fault_b", "ms_a", "ms_b", "tokens_a", "tokens_b", "score_a", "score_b",
)  # fmt: skip


class TrialRuns(UnderstudyError):
    """A test cannot be started as another one runs, or has its name."""


@dataclass(frozen=True)
class Trial:
    """A test as the table has it; `betting` is the state of its statistics, `most` its longest in conversations."""

    name: str
    profile: str
    module: str | None
    variant_a: str
    variant_b: str
    origin: str
    started_at: str
    most: int
    betting: str
    """JSON; who reads it has to expect anything."""
    ended_at: str | None = None
    verdict: str | None = None
    reason: str | None = None
    consequence: str | None = None


@dataclass(frozen=True)
class Ending:
    """How a test ends."""

    verdict: str | None
    reason: str


Take = Callable[[str, float], tuple[str, Ending | None]]
"""Takes the state of the statistics and one more difference; returns the next state, and the end if there is one."""

_COLUMNS = tuple(field.name for field in fields(Trial))


class Trials:
    """The tests of a gym: which run, what was answered in them, what came of it; thread-safe."""

    def __init__(self, file: GymFile) -> None:
        self._file = file
        self.looked = float("-inf")
        """When this process last looked for conversations that closed by silence (`time.monotonic`)."""
        self.looked_at = ""
        """The last conversation that it looked at; the next look goes on behind it."""

    # Tests

    def start(self, trial: Trial) -> None:
        """Begin a test.

        Raises:
            TrialRuns: a test of that name is there, or one of that module runs.
        """
        values = {name: getattr(trial, name) for name in _COLUMNS}
        with self._file.writing():
            for other in self.all():
                if other.name == trial.name:
                    raise TrialRuns(f"there is a test {trial.name!r} already; give this one another name")
                if trial.module and other.ended_at is None and _same(other, trial):
                    raise TrialRuns(
                        f"{other.name!r} tests {other.variant_a} against {other.variant_b} of {other.module} already;"
                        f" wait for it, or end it: understudy ab stop {other.name}"
                    )
            self._file.connection.execute(
                f"INSERT INTO ab_tests ({', '.join(_COLUMNS)}) VALUES ({', '.join(':' + name for name in _COLUMNS)})",
                values,
            )

    def all(self) -> list[Trial]:
        """Return all tests, the oldest first."""
        return [_trial(row) for row in self._file.rows("SELECT * FROM ab_tests ORDER BY started_at, rowid")]

    def find(self, name: str) -> Trial | None:
        """Return a test by its name."""
        row = self._file.row("SELECT * FROM ab_tests WHERE name = ?", name)
        return _trial(row) if row else None

    def running(self, profile: str) -> list[Trial]:
        """Return the tests of a profile's modules that run; cheap enough to be asked at every turn."""
        rows = self._file.rows(
            "SELECT * FROM ab_tests WHERE profile = ? AND module IS NOT NULL AND ended_at IS NULL ORDER BY module",
            profile,
        )
        return [_trial(row) for row in rows]

    def under_test(self, profile: str, module: str) -> set[str]:
        """Return the versions of a module that a test needs: one that runs, or whose consequence is still to come."""
        rows = self._file.rows(
            "SELECT variant_a, variant_b FROM ab_tests WHERE profile = ? AND module = ?"
            " AND (consequence IS NULL OR consequence LIKE ?)",
            profile, module, f"{WAITS}%",
        )  # fmt: skip
        return {name for row in rows for name in row}

    def end(self, name: str, ending: Ending) -> bool:
        """End a test that runs, and say whether this call did it."""
        with self._file.writing():
            return bool(
                self._file.connection.execute(
                    "UPDATE ab_tests SET ended_at = ?, verdict = ?, reason = ? WHERE name = ? AND ended_at IS NULL",
                    (now(), ending.verdict, ending.reason, name),
                ).rowcount
            )

    def unsettled(self) -> list[Trial]:
        """Return the tests that have ended and whose consequence is not known to have been carried out."""
        rows = self._file.rows("SELECT * FROM ab_tests WHERE consequence IS NULL AND ended_at IS NOT NULL")
        return [_trial(row) for row in rows]

    def note(self, name: str, consequence: str, before: str | None = None) -> None:
        """Write down what followed from a test, unless somebody has meanwhile written what differs from `before`."""
        with self._file.writing():
            self._file.connection.execute(
                "UPDATE ab_tests SET consequence = ? WHERE name = ? AND consequence IS ?", (consequence, name, before)
            )

    # What was answered

    def ask(self, conversation_id: str, turns: Iterable[int]) -> None:
        """Note that turns are going to be answered: their conversation does not enter a test before they are."""
        with self._file.writing():
            for turn in set(turns):
                self._file.connection.execute(
                    "INSERT OR REPLACE INTO ab_asked VALUES (?, ?, ?, ?)", (conversation_id, turn, os.getpid(), now())
                )

    def answered(self, conversation_id: str, turns: Iterable[int]) -> None:
        """Note that turns are not being answered any more."""
        with self._file.writing():
            for turn in set(turns):
                self._file.connection.execute(
                    "DELETE FROM ab_asked WHERE conversation_id = ? AND turn = ?", (conversation_id, turn)
                )

    def at_work(self) -> list[str]:
        """Return the conversations of which another living process answers a turn."""
        rows = self._file.rows("SELECT conversation_id, pid FROM ab_asked")
        return [row["conversation_id"] for row in rows if row["pid"] != os.getpid() and _lives(row["pid"])]

    def being_answered(self, conversation_id: str, since: str) -> bool:
        """Say whether a turn of the conversation is being answered by a living process, asked since a moment."""
        rows = self._file.rows("SELECT pid FROM ab_asked WHERE conversation_id = ? AND at > ?", conversation_id, since)
        return any(_lives(row["pid"]) for row in rows)

    def keep(self, name: str, conversation_id: str, turn: int | None, result: Mapping[str, Any]) -> int | None:
        """Write what both variants said of a turn (None: of the next one), and return which turn it was.

        Said again it replaces what was said, unless the conversation has entered. Nothing is written when the test has
        ended meanwhile; then it returns None.
        """
        values = {column: result.get(column) for column in _RESULT}
        values |= {side: _dump(result.get(side)) for side in ("answer_a", "answer_b")}
        columns = ("test", "conversation_id", "turn", *_RESULT, "at")
        update = ", ".join(f"{column} = excluded.{column}" for column in (*_RESULT, "at"))
        with self._file.writing():
            if not self._file.row("SELECT 1 FROM ab_tests WHERE name = ? AND ended_at IS NULL", name):
                return None
            if turn is None:
                turn = self._file.count(
                    "SELECT 1 + coalesce(max(turn), -1) FROM ab_results WHERE test = ? AND conversation_id = ?",
                    name, conversation_id,
                )  # fmt: skip
            values |= {"test": name, "conversation_id": conversation_id, "turn": turn, "at": now()}
            self._file.connection.execute(
                "INSERT INTO ab_conversations (test, conversation_id, state) VALUES (?, ?, 'open')"
                " ON CONFLICT (test, conversation_id) DO UPDATE SET state = 'open' WHERE state = 'unscored'",
                (name, conversation_id),
            )
            self._file.connection.execute(
                f"INSERT INTO ab_results ({', '.join(columns)}) VALUES ({', '.join(':' + c for c in columns)})"
                f" ON CONFLICT (test, conversation_id, turn) DO UPDATE SET {update} WHERE NOT EXISTS"
                "  (SELECT 1 FROM ab_conversations c WHERE c.test = excluded.test"
                "   AND c.conversation_id = excluded.conversation_id AND c.state = 'entered')",
                values,
            )
            return turn

    def results(self, name: str, conversation_id: str) -> list[dict[str, Any]]:
        """Return what was answered in a conversation, by turn."""
        rows = self._file.rows(
            "SELECT * FROM ab_results WHERE test = ? AND conversation_id = ? ORDER BY turn", name, conversation_id
        )
        return [{**dict(row), **{side: _load(row[side]) for side in ("answer_a", "answer_b")}} for row in rows]

    def disputed(self, conversation_ids: Sequence[str]) -> set[str]:
        """Return those of the conversations in which two versions saw another intent or another conflict."""
        rows = self._file.rows(
            "SELECT DISTINCT r.conversation_id FROM json_each(?) c CROSS JOIN ab_conversations n"
            " ON n.conversation_id = c.value CROSS JOIN ab_results r ON r.test = n.test"
            "  AND r.conversation_id = n.conversation_id WHERE"
            "  json_extract(r.answer_a, '$.intent') IS NOT json_extract(r.answer_b, '$.intent')"
            "  OR json_extract(r.answer_a, '$.conflict_type') IS NOT json_extract(r.answer_b, '$.conflict_type')",
            json.dumps(conversation_ids),
        )
        return {row["conversation_id"] for row in rows}

    # Conversations

    def touched(self, conversation_id: str) -> list[tuple[Trial, str]]:
        """Return the tests that a conversation was answered in, and its state; of ended ones, those it has entered."""
        rows = self._file.rows(
            "SELECT t.*, c.state FROM ab_conversations c CROSS JOIN ab_tests t ON t.name = c.test"
            " WHERE c.conversation_id = ? AND (t.ended_at IS NULL OR c.state = 'entered') ORDER BY t.name",
            conversation_id,
        )
        return [(_trial(row), row["state"]) for row in rows]

    def silent(self, since: str, after: str, limit: int) -> list[str]:
        """Return conversations that a running test waits for, in the order of their ids from `after` on.

        These are open ones in which nothing was answered since a moment, and those without evidence of which more has
        been learnt meanwhile.
        """
        rows = self._file.rows(
            "SELECT DISTINCT c.conversation_id FROM ab_conversations c CROSS JOIN ab_tests t ON t.name = c.test"
            " WHERE c.state IN ('open', 'unscored') AND c.conversation_id > ? AND t.ended_at IS NULL"
            " AND t.module IS NOT NULL AND CASE c.state WHEN 'open' THEN NOT EXISTS (SELECT 1 FROM ab_results r"
            "   WHERE r.test = c.test AND r.conversation_id = c.conversation_id AND r.at > ?)"
            "  ELSE EXISTS (SELECT 1 FROM evidence e WHERE e.conversation_id = c.conversation_id"
            "   AND e.id > coalesce(c.evidence_upto, 0)) END ORDER BY c.conversation_id LIMIT ?",
            after, since, limit,
        )  # fmt: skip
        return [row["conversation_id"] for row in rows]

    def open_ones(self, name: str) -> list[str]:
        """Return the conversations of a test that have not been closed, in the order of their first answer."""
        rows = self._file.rows(
            "SELECT c.conversation_id FROM ab_conversations c WHERE c.test = ? AND c.state = 'open' ORDER BY"
            " (SELECT min(at) FROM ab_results r WHERE r.test = c.test AND r.conversation_id = c.conversation_id)",
            name,
        )
        return [row["conversation_id"] for row in rows]

    def set_aside(self, name: str, conversation_id: str, state: str, upto: int, reason: str | None = None) -> None:
        """Note that a closed conversation does not enter: `unscored` (by the evidence up to a row) or `left_out`."""
        with self._file.writing():
            self._file.connection.execute(
                "UPDATE ab_conversations SET state = ?, reason = ?, evidence_upto = ? WHERE test = ?"
                " AND conversation_id = ? AND state <> 'entered'",
                (state, reason, upto, name, conversation_id),
            )

    def enter(
        self, name: str, conversation_id: str, scores: Mapping[int, tuple[float, float]], upto: int, take: Take
    ) -> Ending | None:
        """Let a closed conversation enter a test with its mean difference; one that has entered does not again.

        Args:
            name: the test.
            conversation_id: the conversation.
            scores: of A and B, by turn.
            upto: the newest row of evidence that was looked at.
            take: the statistics.

        Returns:
            How the test ends by it, if it does.
        """
        score_a, score_b = (sum(pair[i] for pair in scores.values()) / len(scores) for i in (0, 1))
        with self._file.writing():
            trial = self.find(name)
            state = self._file.row(
                "SELECT state FROM ab_conversations WHERE test = ? AND conversation_id = ?", name, conversation_id
            )
            if trial is None or trial.ended_at is not None or state is None or state["state"] == "entered":
                return None
            betting, ending = take(trial.betting, score_b - score_a)
            execute = self._file.connection.execute
            execute("UPDATE ab_tests SET betting = ? WHERE name = ?", (betting, name))
            execute(
                "UPDATE ab_conversations SET state = 'entered', reason = NULL, score_a = ?, score_b = ?, turns = ?,"
                " evidence_upto = ?, place = 1 + (SELECT coalesce(max(place), 0) FROM ab_conversations WHERE test = ?)"
                " WHERE test = ? AND conversation_id = ?",
                (score_a, score_b, len(scores), upto, name, name, conversation_id),
            )
            for turn, (a, b) in scores.items():
                execute(
                    "UPDATE ab_results SET score_a = ?, score_b = ?"
                    " WHERE test = ? AND conversation_id = ? AND turn = ?",
                    (a, b, name, conversation_id, turn),
                )
            if ending:
                self.end(name, ending)
            return ending

    def count_late(self, name: str, conversation_id: str) -> None:
        """Count the turns of a conversation of which more has been learnt since it entered."""
        with self._file.writing():
            self._file.connection.execute(
                "UPDATE ab_conversations SET late = (SELECT count(DISTINCT e.turn) FROM evidence e"
                "  WHERE e.conversation_id = ab_conversations.conversation_id AND e.id > evidence_upto"
                "  AND e.source <> 'teacher' AND NOT EXISTS"
                "   (SELECT 1 FROM evidence o WHERE o.conversation_id = e.conversation_id AND o.turn = e.turn"
                "    AND o.field = e.field AND o.source = e.source AND o.value = e.value AND o.id < e.id))"
                " WHERE test = ? AND conversation_id = ? AND state = 'entered'",
                (name, conversation_id),
            )

    # What came of it

    def course(self, name: str) -> list[tuple[float, float]]:
        """Return the scores of A and B of the conversations that have entered, in that order."""
        rows = self._file.rows(
            "SELECT score_a, score_b FROM ab_conversations WHERE test = ? AND place IS NOT NULL ORDER BY place", name
        )
        return [(row["score_a"], row["score_b"]) for row in rows]

    def states(self, name: str) -> dict[str, int]:
        """Count the conversations of a test by their state, and the turns that were learnt about late."""
        rows = self._file.rows(
            "SELECT state, count(*) AS n, total(late) AS late FROM ab_conversations WHERE test = ? GROUP BY state", name
        )
        return {row["state"]: row["n"] for row in rows} | {"late": int(sum(row["late"] for row in rows))}

    def costs(self, name: str) -> dict[str, dict[str, float]]:
        """Return by variant (a, b) its turns, faults, and mean time (ms) and tokens of an answer."""
        row = self._file.row(
            "SELECT count(*) AS turns, count(fault_a) AS faults_a, count(fault_b) AS faults_b,"
            " avg(ms_a) AS ms_a, avg(ms_b) AS ms_b, avg(tokens_a) AS tokens_a, avg(tokens_b) AS tokens_b"
            " FROM ab_results WHERE test = ?",
            name,
        )
        return {
            side: {"turns": row["turns"], **{what: row[f"{what}_{side}"] or 0 for what in ("faults", "ms", "tokens")}}
            for side in ("a", "b")
            if row
        }


def _same(one: Trial, other: Trial) -> bool:
    return (one.profile, one.module) == (other.profile, other.module)


def _trial(row: sqlite3.Row) -> Trial:
    return Trial(**{name: row[name] for name in _COLUMNS})


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True  # it is there, and somebody else's
    return True


def _dump(value: Any) -> str | None:
    return None if value is None else json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def _load(text: str | None) -> Any:
    return None if text is None else json.loads(text)
