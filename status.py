"""What the gym holds, in numbers and as rows."""

from collections.abc import Iterator
from typing import Any

from understudy.checkpoints.host import losses
from understudy.graph.due import outlook
from understudy.lm.roles import model_names
from understudy.nodes.brain import Brain, gym_of
from understudy.nodes.modules import MODULES
from understudy.readiness import Readiness, readiness
from understudy.state import Context


def status(brain: Brain) -> dict[str, Any]:
    """Return what `understudy status --json` prints."""
    gym, profile = gym_of(brain), brain.profile(None)
    counts = gym.counts()
    return {
        "decisions": counts["decisions"],
        "conversations": counts["conversations"],
        "evidence": {name: gym.count_evidence(faculty.main_fields) for name, faculty in MODULES.items()},
        "since_last_optimization": gym.count_since(gym.runs.last()),
        "answers": {
            name: {version: _rates(kinds) for version, kinds in versions.items()}
            for name, versions in gym.answers().items()
        },
        "modules": {name: brain.version(faculty, profile.name, Context()) for name, faculty in MODULES.items()},
        "ready": {name: _ready(found) for name, found in readiness(brain).items()},
        "profile": profile.name,
        "backlog": counts["backlog"],
        "lost": losses(gym),
        "hours_to_drain": hours_to_drain(brain, counts["backlog"]),
        "models": dict(model_names(brain.settings)),
        "engine": brain.settings.lm_provider,
        "jobs": outlook(gym, brain.settings, profile.name),
        "gym": str(gym.path),
    }


def hours_to_drain(brain: Brain, backlog: int) -> float | None:
    """Return how long the turns that wait will take, in hours; None before the first turn has been read."""
    latency = gym_of(brain).recent_latency_ms()
    hours = backlog * latency / brain.parallel / 3_600_000 if latency else None
    return 0.0 if not backlog else hours and round(hours, 3)


def exported(brain: Brain) -> Iterator[dict[str, Any]]:
    """Yield every decision with the conversation before it and its evidence."""
    gym = gym_of(brain)
    for decision in gym.decisions():
        history = gym.history(decision.conversation_id, decision.history_upto, decision.history_upto + 1)
        evidence = gym.evidence(decision.conversation_id, decision.turn)
        yield {**decision.model_dump(), "conversation_history": history, "evidence": evidence}


def _ready(found: Readiness) -> dict[str, Any]:
    """Return in short whether a module is ready to be trusted, and what is missing."""
    return {
        "ready": found.ready,
        "missing": list(found.missing),
        "agreement": found.agreement,
        "lower": found.lower,
        "conversations": found.conversations,
        "fault_rate": found.fault_rate,
    }


def _rates(kinds: dict[str, int]) -> dict[str, float]:
    """Return how many turns a module was asked, and the share of each kind: answered, repairs, faults."""
    faults = sum(n for kind, n in kinds.items() if kind[:1].isupper())
    turns = kinds.get("answered", 0) + faults
    return {"turns": turns, **{kind: round(n / turns, 4) for kind, n in kinds.items()}}
