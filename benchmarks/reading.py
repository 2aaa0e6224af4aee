"""How long it takes to look at a large gym: each query of `checkpoints/browsing.py`, and what is shown of it."""

import json
import sqlite3
import time
from collections.abc import Callable
from functools import partial
from statistics import median
from typing import Any

from understudy.checkpoints.browsing import Conversations, Decisions
from understudy.checkpoints.gym import Gym
from understudy.nodes.brain import own_brain

LONG = "long"
"""A conversation of 10,000 messages."""

_FIELDS = {
    "conflict": {"conflict_type": "none", "reasoning": "x" * 120, "confidence": 0.7},
    "intent": {"intent": "booking", "next_step": "ask_date", "confidence": 0.6},
    "quality": {
        "quality_score": 0.8,
        "user_satisfaction": 0.7,
        "issues": ["x" * 60] * 3,
        "suggestions": ["x" * 60] * 3,
    },
    "goals": {"main_goal": "x" * 60, "sub_goals": ["x" * 50] * 3, "required_info": ["date", "name"]},
    "response": {"proposed_response": "x" * 150, "tone": "friendly", "reasoning": "x" * 120, "confidence": 0.6},
}
_READINGS = {
    name: {"fields": fields, "version": "v0.0", "model": "embedded", "tokens_in": 900, "tokens_out": 60, "ms": 1.0}
    for name, fields in _FIELDS.items()
}
_VERSIONS = json.dumps(dict.fromkeys(_FIELDS, "v0.0"), separators=(",", ":"))
_FAULT = json.dumps([{"step": "intent", "kind": "AnswerError", "message": "x" * 80}], separators=(",", ":"))


PAGES = (
    "/brain/decisions?limit=100",
    "/brain/decisions?intent=nothing",
    "/brain/conversations?limit=100",
    "/brain/conversations?outcome=failure",
    f"/brain/conversations/{LONG}?turn=4000",
    "/brain/ui/conversations",
    "/brain/ui/conversations?outcome=failure",
    f"/brain/ui/conversations/one?id={LONG}&turn=4000",
)


def table(decisions: int = 100_000) -> None:
    """Print what each query and each page takes, on the gym of this folder, which is filled first."""
    # Loaded here: the server is an extra.
    from fastapi.testclient import TestClient

    from understudy.server.app import app

    own_brain.cache_clear()
    gym = own_brain().gym
    assert gym is not None
    with sqlite3.connect(gym.path) as db:
        fill(db, decisions)
    print(f"reading at {decisions:,} decisions, ms, p50 of 5 (budget 100 a query, 300 a page)")
    for name, query in queries(gym).items():
        print(f"  {name:<60}{timed(query):8.1f}")
    with TestClient(app, base_url="http://localhost", client=("127.0.0.1", 5)) as client:
        for path in PAGES:
            assert client.get(path).status_code == 200
            print(f"  {path:<60}{timed(partial(client.get, path)):8.1f}")
    gym.close()
    own_brain.cache_clear()
    print()


def fill(db: sqlite3.Connection, decisions: int, turns: int = 10) -> None:
    """Write decisions in conversations of so many turns, all but every tenth ended; and a conversation that is long.

    One turn in a hundred has a fault, one in fifty a label by a person.
    """
    numbers = f"WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i < {decisions - 1})"
    long = min(5_000, decisions // 2)
    name = f"CASE WHEN i < {long} THEN '{LONG}' ELSE 'c' || (i / {turns}) END"
    turn = f"CASE WHEN i < {long} THEN i ELSE i % {turns} END"
    at = "strftime('%Y-%m-%dT%H:%M:', 1790000000 + i, 'unixepoch') || printf('%02d.%06dZ', i % 60, i)"
    for role, kind, n in (("customer", "customer_message", 0), ("agent", "agent_message", 1)):
        db.execute(
            f"{numbers} INSERT INTO events (id, conversation_id, seq, kind, turn, message_id, role, text, action,"
            f" profile, at, processed_at) SELECT 3 * i + {n} + 1, {name}, 2 * ({turn}) + {n}, '{kind}', {turn},"
            f" '{role}' || ({turn}), '{role}', printf('%.80c', 'x'), iif({n}, 'ask_date', NULL), 'default', {at}, {at}"
            " FROM n"
        )
    db.execute(
        f"{numbers} INSERT INTO events (id, conversation_id, seq, kind, turn, payload, profile, at, processed_at)"
        f" SELECT 3 * i + 3, {name}, {2 * turns}, 'outcome', {turns - 1}, '{{\"workflow_outcome\":\"success\"}}',"
        f" 'default', {at}, {at} FROM n WHERE i >= {long} AND i % {turns} = {turns - 1} AND (i / {turns}) % 10"
    )
    db.execute(
        f"{numbers} INSERT INTO brain_decisions (decision_id, conversation_id, turn, message_id, profile, created_at,"
        " user_message, history_upto, conflict_type, intent, next_step, proposed_response, readings, faults, versions,"
        " models, tokens_in, tokens_out, latency_ms, engine, brain_mode, response_sent, workflow_outcome)"
        f" SELECT printf('00000000-0000-5000-8000-%012d', i), {name}, {turn}, 'customer' || ({turn}), 'default', {at},"
        " printf('%.80c', 'x'), 0, 'none', iif(i % 3, 'booking', 'question'), 'ask_date', printf('%.150c', 'x'),"
        " ?, iif(i % 100, '[]', ?), ?, '{}', 1, 1, 9.0, 'embedded', 'shadow', printf('%.80c', 'x'),"
        f" iif(i >= {long} AND (i / {turns}) % 10, 'success', NULL) FROM n",
        (json.dumps(_READINGS, separators=(",", ":")), _FAULT, _VERSIONS),
    )
    for field, value, source, every in (
        ("next_step", "ask_date", "hindsight", 1),
        ("proposed_response", "x" * 80, "hindsight", 1),
        ("intent", "booking", "human", 50),
    ):
        db.execute(
            f"{numbers} INSERT INTO evidence (event_id, conversation_id, turn, field, value, source, at)"
            f" SELECT 3 * i + 2, {name}, {turn}, '{field}', ?, '{source}', {at} FROM n WHERE i % {every} = 0",
            (json.dumps(value),),
        )


def queries(gym: Gym, of: int = 100) -> dict[str, Callable[[], Any]]:
    """Return the queries by name, each a function; pages are of so many rows."""
    browsing = gym.browsing
    last = browsing.decisions(Decisions(), None, of)[-1]
    nothing = {"none of the profile": {"profile": "x"}, "none of the intent": {"intent": "x"}}
    decisions: dict[str, dict[str, Any]] = {
        "newest": {},
        **nothing,
        "none of the conflict": {"conflict_type": "x", "profile": "default"},
        "none of the conversation": {"conversation_id": "x"},
        "the long conversation": {"conversation_id": LONG},
        "none of the version": {"module": "response", "version": "v9.9"},
        "with a fault": {"faults": True},
        "none with a fault": {"faults": True, "intent": "x"},
        "without a fault, none": {"faults": False, "conflict_type": "x"},
        "labelled": {"labelled": True},
        "labelled, none": {"labelled": True, "intent": "x"},
        "not labelled, none": {"labelled": False, "faults": True, "intent": "x"},
        "since, none": {"since": "2999"},
        "until, none": {"until": "2000"},
    }
    conversations: dict[str, dict[str, Any]] = {
        "newest": {},
        "none of the profile": {"profile": "x"},
        "none of the prefix": {"prefix": "x"},
        "none of the outcome": {"outcome": "failure"},
        "open": {"outcome": "open"},
        "open, none": {"outcome": "open", "prefix": "x"},
        "with faults": {"faults": True},
        "with faults, none": {"faults": True, "outcome": "failure"},
        "without faults, none": {"faults": False, "outcome": "failure"},
    }
    found: dict[str, Callable[[], Any]] = {
        f"decisions: {name}": partial(browsing.decisions, Decisions(**given), None, of)
        for name, given in decisions.items()
    }
    found["decisions: behind the first page"] = lambda: browsing.decisions(Decisions(), last, of)
    found |= {
        f"conversations: {name}": partial(browsing.conversations, Conversations(**given), None, of, 200)
        for name, given in conversations.items()
    }
    turns = list(range(4_000, 4_050))
    found |= {
        "one: in short": lambda: browsing.conversation(LONG, 200),
        "one: events": lambda: browsing.events(LONG, 8_000, 100, 1_000_000),
        "one: decisions": lambda: browsing.turns(LONG, turns),
        "one: evidence": lambda: browsing.evidence(LONG, turns, 500),
        "one: answers of A/B tests": lambda: browsing.pairs(LONG, turns),
    }
    return found


def timed(call: Callable[[], Any], times: int = 5) -> float:
    """Return the median time of a call in milliseconds, the first one left out."""
    call()
    spent = []
    for _ in range(times):
        started = time.perf_counter()
        call()
        spent.append((time.perf_counter() - started) * 1000)
    return median(spent)
