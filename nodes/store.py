"""Keep the dreams of a cycle, with the planned share of invented ones to the last dream, and report."""

import hashlib
from typing import Any

from langgraph.runtime import Runtime
from langgraph.types import Overwrite

from understudy.checkpoints.file import now
from understudy.nodes.brain import brain_of
from understudy.nodes.faculty import Update
from understudy.nodes.memory import forget_cycle, memory_at_hand
from understudy.state import Context, DreamState


def store(state: DreamState, runtime: Runtime[Context]) -> Update:
    """Write down as many dreams as keep the share exact, and what became of the others."""
    brain = brain_of(runtime.context)
    kept = [state["kept"][slot] for slot in sorted(state.get("kept") or {}, key=int)]
    by_kind = {kind: [dream for dream in kept if dream["kind"] == kind] for kind in ("replay", "invented")}
    wanted = state.get("wanted") or {}
    ratio = wanted.get("invented", 0) / max(1, sum(wanted.values()))
    replayed, invented = exact(len(by_kind["replay"]), len(by_kind["invented"]), ratio)
    taken = [*by_kind["replay"][:replayed], *by_kind["invented"][:invented]]
    # Mixed: whoever takes the newest gets both kinds.
    taken.sort(key=lambda dream: hashlib.sha256(dream["dream_id"].encode()).digest())
    dropped = dict(state.get("dropped") or {})
    report: dict[str, Any] = {
        "cycle": state["cycle"],
        "profile": state["profile"],
        "status": "skipped" if state.get("reason") else "success",
        "reason": state.get("reason") or _short(len(taken), state["count"]),
        "dreams": len(taken),
        "replayed": replayed,
        "invented": invented,
        "screened_out": sum(count for why, count in dropped.items() if not why.startswith("fault")),
        "faults": sum(count for why, count in dropped.items() if why.startswith("fault")),
        "reasons": dict(sorted(dropped.items(), key=lambda one: -one[1])),
        "beyond_the_share": len(kept) - len(taken),
        "masked": {} if state.get("reason") else memory_at_hand(brain, state["cycle"], state["profile"]).masked,
        "started_at": state["started_at"],
        "ended_at": now(),
    }
    if brain.gym is not None:
        brain.gym.dreams.keep([{**dream, "sketch": bytes.fromhex(dream["sketch"])} for dream in taken])
        brain.gym.dreams.save_cycle(report)
    forget_cycle(state["cycle"])
    # The dreams are in their table now: a checkpoint need not hold them, nor what they were made of.
    return {"report": report, "plans": [], "made": [], "kept": Overwrite({}), "tries": Overwrite({})}


def exact(replayed: int, invented: int, ratio: float) -> tuple[int, int]:
    """Return how many of each kind make the most dreams of which the share of invented ones is as planned."""
    for total in range(replayed + invented, 0, -1):
        new = round(total * ratio)
        if new <= invented and total - new <= replayed:
            return total - new, new
    return 0, 0


def _short(dreams: int, count: int) -> str | None:
    return f"{dreams} of {count} dreams were of use" if dreams < count else None
