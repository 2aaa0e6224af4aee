"""A gym of any size: the bundled conversations, observed once and then written again under other names."""

import asyncio
import sqlite3
from pathlib import Path

from understudy.demo import BUNDLED
from understudy.nodes.brain import Brain
from understudy.replay import replay
from understudy.settings import Settings

TABLES = {
    "events": ("id", "conversation_id"),
    "brain_decisions": ("", "conversation_id, decision_id"),
    "evidence": ("id, event_id", "conversation_id"),
    "personalization_suggestions": ("id", "conversation_id"),
}
"""What is written again: columns that are numbered anew, and names that get the copy's number."""


def make(path: Path, decisions: int = 1) -> int:
    """Make a gym of at least so many decisions, and return how many it has."""
    brain = Brain(Settings(lm_provider="embedded", rl_gym_db_path=path, optimized_modules_dir=path.with_name("none")))
    asyncio.run(replay([BUNDLED], brain))
    assert brain.gym is not None
    once = brain.gym.counts()["decisions"]
    brain.gym.close()
    copies = -(-decisions // once) - 1
    with sqlite3.connect(path) as db:
        for table, (numbered, named) in TABLES.items():
            _copy(db, table, numbered.split(", "), named.split(", "), copies)
    db.close()
    return once * (copies + 1)


def _copy(db: sqlite3.Connection, table: str, numbered: list[str], named: list[str], copies: int) -> None:
    columns = [row[1] for row in db.execute(f"PRAGMA table_info({table})")]
    ids = [column for column in numbered if column]
    steps = {column: db.execute(f"SELECT coalesce(max({column}), 0) FROM {table}").fetchone()[0] for column in ids}
    values = [
        f"{column} + n.i * {steps[column]}"
        if column in steps
        else f"{column} || '-' || n.i"
        if column in named
        else column
        for column in columns
    ]
    db.execute(
        f"WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {copies})"
        f" INSERT INTO {table} ({', '.join(columns)}) SELECT {', '.join(values)} FROM n CROSS JOIN"
        f" (SELECT * FROM {table} ORDER BY rowid)"
    )
