"""What the gym holds of A/B tests, and every SQL statement on it."""

import json
import sqlite3
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from typing import Any

from understudy.checkpoints.file import GymFile, now
from understudy.intake import UnderstudyError

_RESULT = (
    "first", "answer_a", "answer_b", "fault_a", "fault_b", "ms_a", "ms_b", "tokens_a", "tokens_b", "score_a", "score_b",
)  # fmt: skip


class TrialRuns(UnderstudyError):
    """A test cannot be started as another one runs, or has its name."""


@dataclass(frozen=True)
class Trial:
    """A test as the table has it; `betting` is the state of its statistics."""

    name: str
    profile: str
    module: str | None
    variant_a: str
    variant_b: str
    origin: str
    started_at: str
    most: int
    betting: dict[str, Any]
    ended_at: str | None = None
    verdict: str | None = None
    reason: str | None = None
    consequence: str | None = None


@dataclass(frozen=True)
class Ending:
    """How a test ends."""

    verdict: str | None
    reason: str


Take = Callable[[dict[str, Any], float], tuple[dict[str, Any], Ending | None]]
"""Takes the state of the statistics and one more difference; returns the next state, and the end if there is one."""

_COLUMNS = tuple(field.name for field in fields(Trial))


class Trials:
    """The tests of a gym: which run, what was answered in them, what came of it; thread-safe."""

    def __init__(self, file: GymFile) -> None:
        self._file = file
        self.looked = float("-inf")
        """When this process last looked for conversations that closed by silence (`time.monotonic`)."""

    # Tests

    def start(self, trial: Trial) -> None:
        """Begin a test.

        Raises:
            TrialRuns: a test of that name is there, or one of that module runs.
        """
        values = {name: getattr(trial, name) for name in _COLUMNS} | {"betting": json.dumps(trial.betting)}
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
        """Return the versions of a module that a running test needs."""
        return {name for t in self.running(profile) if t.module == module for name in (t.variant_a, t.variant_b)}

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

    def keep(self, name: str, conversation_id: str, turn: int, result: Mapping[str, Any]) -> bool:
        """Write what both variants said of a turn; said again it replaces what was said, unless that has counted.

        Nothing is written when the test has ended meanwhile. Returns whether it was.
        """
        values = {column: result.get(column) for column in _RESULT}
        values |= {side: _dump(result.get(side)) for side in ("answer_a", "answer_b")}
        values |= {"test": name, "conversation_id": conversation_id, "turn": turn, "at": now()}
        columns = ("test", "conversation_id", "turn", *_RESULT, "at")
        update = ", ".join(f"{column} = excluded.{column}" for column in (*_RESULT, "at"))
        with self._file.writing():
            if not self._file.row("SELECT 1 FROM ab_tests WHERE name = ? AND ended_at IS NULL", name):
                return False
            self._file.connection.execute(
                "INSERT OR IGNORE INTO ab_conversations (test, conversation_id, state) VALUES (?, ?, 'open')",
                (name, conversation_id),
            )
            return bool(
                self._file.connection.execute(
                    f"INSERT INTO ab_results ({', '.join(columns)}) VALUES ({', '.join(':' + c for c in columns)})"
                    f" ON CONFLICT (test, conversation_id, turn) DO UPDATE SET {update} WHERE NOT EXISTS"
                    "  (SELECT 1 FROM ab_conversations c WHERE c.test = excluded.test"
                    "   AND c.conversation_id = excluded.conversation_id AND c.state = 'entered')",
                    values,
                ).rowcount
            )

    def results(self, name: str, conversation_id: str) -> list[dict[str, Any]]:
        """Return what was answered in a conversation, by turn."""
        rows = self._file.rows(
            "SELECT * FROM ab_results WHERE test = ? AND conversation_id = ? ORDER BY turn", name, conversation_id
        )
        return [{**dict(row), **{side: _load(row[side]) for side in ("answer_a", "answer_b")}} for row in rows]

    # Conversations

    def touched(self, conversation_id: str) -> list[tuple[Trial, str]]:
        """Return the tests that a conversation was answered in, and its state; of ended ones, those it has entered."""
        rows = self._file.rows(
            "SELECT t.*, c.state FROM ab_conversations c CROSS JOIN ab_tests t ON t.name = c.test"
            " WHERE c.conversation_id = ? AND (t.ended_at IS NULL OR c.state = 'entered') ORDER BY t.name",
            conversation_id,
        )
        return [(_trial(row), row["state"]) for row in rows]

    def silent(self, since: str, limit: int) -> list[str]:
        """Return open conversations of running tests in which nothing was answered since a moment."""
        rows = self._file.rows(
            "SELECT DISTINCT c.conversation_id FROM ab_tests t CROSS JOIN ab_conversations c"
            " ON c.test = t.name AND c.state = 'open' WHERE t.ended_at IS NULL AND NOT EXISTS (SELECT 1"
            "  FROM ab_results r WHERE r.test = c.test AND r.conversation_id = c.conversation_id AND r.at > ?)"
            " LIMIT ?",
            since, limit,
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

    def set_aside(self, name: str, conversation_id: str, state: str, reason: str | None = None) -> None:
        """Note that a closed conversation does not enter: `unscored` (as yet) or `left_out`."""
        with self._file.writing():
            self._file.connection.execute(
                "UPDATE ab_conversations SET state = ?, reason = ? WHERE test = ? AND conversation_id = ?"
                " AND state <> 'entered'",
                (state, reason, name, conversation_id),
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
            execute("UPDATE ab_tests SET betting = ? WHERE name = ?", (json.dumps(betting), name))
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
                "  WHERE e.conversation_id = ab_conversations.conversation_id AND e.id > evidence_upto AND NOT EXISTS"
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
    return Trial(**{name: row[name] for name in _COLUMNS} | {"betting": json.loads(row["betting"])})


def _dump(value: Any) -> str | None:
    return None if value is None else json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def _load(text: str | None) -> Any:
    return None if text is None else json.loads(text)
