"""The SQL of the review queue: which turns nobody has labelled, what people have said, and how a slip is taken back."""

from typing import NamedTuple

from understudy.checkpoints.gym import Gym

NEWEST_LABELS = 5000
"""Labels that are counted, the newest ones."""


class Unlabelled(NamedTuple):
    """A turn whose field no person has labelled: what its module said of it, and what happened.

    `said` is None without an answer; `differ` says whether the versions of a test answered the field differently.
    """

    conversation_id: str
    turn: int
    answered: bool
    said: str | float | None
    confidence: float | None
    next_step: str | None
    action_taken: str | None
    workflow_outcome: str | None
    user_satisfaction: float | None
    differ: bool


def unlabelled(gym: Gym, profile: str, module: str, field: str, trial: str | None, newest: int) -> list[Unlabelled]:
    """Return those of a profile's newest decisions whose field no person has labelled, the newest first."""
    rows = gym.rows(
        "SELECT d.conversation_id, d.turn, json_type(d.readings, ?1) IS NOT NULL, json_extract(d.readings, ?1 || ?2),"
        " json_extract(d.readings, ?1 || '.confidence'), d.next_step, d.action_taken, d.workflow_outcome,"
        " d.user_satisfaction, EXISTS (SELECT 1 FROM ab_results r WHERE r.test = ?3"
        "  AND r.conversation_id = d.conversation_id AND r.turn = d.turn"
        "  AND json_extract(r.answer_a, '$' || ?2) IS NOT json_extract(r.answer_b, '$' || ?2))"
        " FROM (SELECT rowid FROM brain_decisions WHERE profile = ?4 ORDER BY rowid DESC LIMIT ?5) n"
        " CROSS JOIN brain_decisions d ON d.rowid = n.rowid WHERE NOT EXISTS (SELECT 1 FROM evidence e"
        "  WHERE e.conversation_id = d.conversation_id AND e.turn = d.turn AND e.field = ?6 AND e.source = 'human')",
        f"$.{module}.fields", f".{field}", trial, profile, newest, field,
    )  # fmt: skip
    return [Unlabelled(*row) for row in rows]


def label_counts(gym: Gym, field: str) -> dict[str, int]:
    """Count the values of a field that people have given lately, each as JSON."""
    rows = gym.rows(
        "SELECT value, count(*) FROM (SELECT value FROM evidence WHERE source = 'human' AND field = ?"
        " ORDER BY id DESC LIMIT ?) GROUP BY value",
        field, NEWEST_LABELS,
    )  # fmt: skip
    return {row[0]: row[1] for row in rows}


def labelled_since(gym: Gym, field: str, moment: str) -> int:
    """Count the labels of a field that people have given since a moment (UTC ISO 8601), NEWEST_LABELS at most."""
    return gym.count(
        "SELECT count(*) FROM (SELECT at FROM evidence WHERE source = 'human' AND field = ?"
        " ORDER BY id DESC LIMIT ?) WHERE at >= ?",
        field, NEWEST_LABELS, moment,
    )  # fmt: skip


def take_back(gym: Gym, event_id: int) -> bool:
    """Erase a person's label with its evidence, and say whether it was there; its number is not given again."""
    with gym.writing():
        label = "FROM events WHERE id = ? AND kind = 'label' AND coalesce(json_extract(payload, '$.source'), '') = ''"
        if not gym.row(f"SELECT 1 {label}", event_id):
            return False
        gym.erasure.note_newest()
        gym.connection.execute("DELETE FROM evidence WHERE event_id = ?", (event_id,))
        gym.connection.execute(f"DELETE {label}", (event_id,))
    return True
