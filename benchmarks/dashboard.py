"""How long the dashboard's overview and review queue take on a large gym: what they ask of it, without the browser."""

import json
import sqlite3
import time
from collections.abc import Callable
from statistics import median

from understudy.events import Label
from understudy.nodes.brain import Brain
from understudy.readiness import MOST, readiness
from understudy.reviewing import queue
from understudy.settings import Settings

TURNS = 10
"""Of a conversation."""

READINGS = {
    "conflict": {"conflict_type": "none", "confidence": 0.6, "reasoning": "It was said: nothing to pay."},
    "goals": {"main_goal": "book_service", "sub_goals": ["book_service"], "required_info": ["phone", "service"]},
    "intent": {"intent": "booking", "next_step": "ask_phone", "confidence": 0.5},
    "quality": {"quality_score": 0.5, "user_satisfaction": 0.8, "completeness": 0.5, "issues": [], "confidence": 0.9},
    "response": {"proposed_response": "Shall I book that for you on Friday at ten?", "tone": "friendly"},
}
EVIDENCE = (
    ("conflict_type", "none", "human"), ("intent", "inquiry", "human"), ("next_step", "ask_phone", "hindsight"),
    ("proposed_response", "May I have your phone number?", "hindsight"), ("user_satisfaction", 0.9, "outcome"),
    ("required_info", ["phone"], "human"),
)  # fmt: skip


def table(row: Callable[[str, float, str], None], decisions: int = 100_000) -> None:
    """Print the times, in an empty folder."""
    brain = Brain(Settings())
    assert brain.gym is not None
    fill(brain, decisions)
    profile = brain.profile(None)
    gym = brain.gym

    def told() -> object:
        gym.learn("c0", [Label(turn=0, fields={"intent": "booking"}).event()], "default")
        return readiness(brain)

    looks: dict[str, Callable[[], object]] = {
        f"readiness, {MOST} conversations": told,
        "  the same, when nothing is new": lambda: readiness(brain),
        "review queue": lambda: queue(brain, profile, "intent"),
    }
    print(f"the dashboard at {decisions:,} decisions, ms (budget of a page: 300)")
    for name, look in looks.items():
        times = []
        for _ in range(5):
            started = time.perf_counter()
            look()
            times.append((time.perf_counter() - started) * 1000)
        row(f"  {name}", median(times), f"first {times[0]:.0f}")
    gym.close()
    print()


def fill(brain: Brain, decisions: int) -> None:
    """Fill a gym with closed conversations: every field has evidence, and people have labelled all but the newest."""
    assert brain.gym is not None
    readings = {
        name: {"fields": fields, "version": "v0.0", "model": "embedded/student", "tokens_in": 400, "tokens_out": 20}
        for name, fields in READINGS.items()
    }
    versions = dict.fromkeys(READINGS, "v0.0")
    numbers = f"WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i < {decisions - 1})"
    at = "strftime('%Y-%m-%dT%H:%M:%fZ', '2026-01-01', '+' || (i * 10) || ' seconds')"
    with sqlite3.connect(brain.gym.path) as db:
        db.execute(
            f"{numbers} INSERT INTO events (conversation_id, seq, kind, turn, message_id, role, text, profile,"
            f" at, processed_at) SELECT 'c' || (i / {TURNS}), i % {TURNS}, 'customer_message', i % {TURNS},"
            f" 'm' || (i % {TURNS}), 'customer', 'Can you take my van on Friday?', 'default', {at}, {at} FROM n"
        )
        db.execute(
            f"{numbers} INSERT INTO events (conversation_id, seq, kind, turn, payload, profile, at, processed_at)"
            f" SELECT 'c' || (i / {TURNS}), {TURNS}, 'outcome', {TURNS - 1}, '{{\"workflow_outcome\": \"success\"}}',"
            f" 'default', {at}, {at} FROM n WHERE i % {TURNS} = 0"
        )
        db.execute(
            f"{numbers} INSERT INTO brain_decisions (decision_id, conversation_id, turn, message_id, profile,"
            " created_at, user_message, history_upto, intent, next_step, intent_confidence, conflict_type,"
            " conflict_confidence, readings, faults, versions, models, tokens_in, tokens_out, latency_ms, engine,"
            f" brain_mode, workflow_outcome) SELECT 'd' || i, 'c' || (i / {TURNS}), i % {TURNS}, 'm' || (i % {TURNS}),"
            f" 'default', {at}, 'Can you take my van on Friday?', i % {TURNS}, 'booking', 'ask_phone', (i % 97) / 97.0,"
            " 'none', 0.6, ?, '[]', ?, '{}', 1, 1, 9.0, 'embedded', 'shadow', 'success' FROM n",
            (json.dumps(readings), json.dumps(versions)),
        )
        for field, value, source in EVIDENCE:
            last = decisions - 3000 if field == "intent" else decisions
            db.execute(
                f"{numbers} INSERT INTO evidence (event_id, conversation_id, turn, field, value, source, at)"
                f" SELECT i, 'c' || (i / {TURNS}), i % {TURNS}, ?, ?, ?, {at} FROM n WHERE i < ?",
                (field, json.dumps(value), source, last),
            )
