"""A gym of any size: the bundled conversations, observed once and then written again under other names."""

import asyncio
import sqlite3
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path

from understudy.demo import BUNDLED
from understudy.nodes.brain import Brain
from understudy.replay import replay
from understudy.settings import Settings

LONG = "dt-047"
"""The conversation that is made long, by happening again and again."""

IDS = {"events": ("id",), "brain_decisions": (), "evidence": ("id", "event_id"), "personalization_suggestions": ("id",)}
"""What is written again, by its columns that are numbered anew."""


def make(path: Path, decisions: int = 1, messages: int = 0) -> int:
    """Make a gym of at least so many decisions, and return how many it has.

    Args:
        path: its file.
        decisions: how many at least; each bundled conversation is there as often as the others.
        messages: how many the conversation LONG has at least.
    """
    brain = Brain(Settings(lm_provider="embedded", rl_gym_db_path=path, optimized_modules_dir=path.with_name("none")))
    asyncio.run(replay([BUNDLED], brain))
    assert brain.gym is not None
    once = brain.gym.counts()["decisions"]
    brain.gym.close()
    with closing(sqlite3.connect(path)) as db, db:
        for table in IDS:
            _copy(
                db, table, -(-decisions // once), {"conversation_id": "|| '-' || n.i", "decision_id": "|| '-' || n.i"}
            )
        events, turns = db.execute(
            "SELECT max(seq) + 1, max(turn) + 1 FROM events WHERE conversation_id = ?", [LONG]
        ).fetchone()
        later = {"seq": f"+ n.i * {events}", "history_upto": f"+ n.i * {events}", "turn": f"+ n.i * {turns}"}
        for table in ("events", "brain_decisions", "evidence"):
            again = {**later, "message_id": "|| '-again-' || n.i", "decision_id": "|| '-again-' || n.i"}
            _copy(db, table, -(-messages // events), again, f"WHERE conversation_id = '{LONG}'")
        return int(db.execute("SELECT count(*) FROM brain_decisions").fetchone()[0])


def _copy(db: sqlite3.Connection, table: str, times: int, changed: Mapping[str, str], which: str = "") -> None:
    """Have rows stand in a table so many times, but for what is changed in each copy; `n.i` is its number, from 1."""
    newest = {
        column: db.execute(f"SELECT coalesce(max({column}), 0) FROM {table}").fetchone()[0] for column in IDS[table]
    }
    changes = {**changed, **{column: f"+ n.i * {most}" for column, most in newest.items()}}
    columns = [row[1] for row in db.execute(f"PRAGMA table_info({table})")]
    values = [f"{column} {changes.get(column, '')}" for column in columns]
    db.execute(
        f"WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {times - 1})"
        f" INSERT INTO {table} ({', '.join(columns)})"
        f" SELECT {', '.join(values)} FROM n CROSS JOIN (SELECT * FROM {table} {which} ORDER BY rowid)"
        f" WHERE n.i < {times}"
    )
