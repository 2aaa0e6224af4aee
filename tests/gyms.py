"""What takes long to make and many tests start from: it is made once, whichever worker asks first, and copied."""

import asyncio
import fcntl
import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from understudy.benchmarks.prove import write
from understudy.demo import BUNDLED
from understudy.nodes.brain import Brain
from understudy.replay import replay
from understudy.settings import Settings

Talks = list[dict[str, Any]]
Observed = Callable[..., Brain]
"""Called with conversations, or the number of bundled ones, and settings: a brain whose gym holds them."""


def bundled(count: int | None = None) -> Talks:
    """Return the first of the bundled conversations."""
    return [json.loads(line) for line in BUNDLED.read_text(encoding="utf-8").splitlines()[:count]]


def once(folder: Path, make: Callable[[Path], None]) -> Path:
    """Return a folder that `make` has filled; it is filled once, whatever processes ask for it."""
    with folder.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not folder.is_dir():
            begun = folder.with_suffix(".begun")
            begun.mkdir()
            make(begun)
            begun.rename(folder)
    return folder


def observing(kept: Path) -> Observed:
    """Return what gives brains their gyms; the gyms are kept in a folder that processes may share."""

    def observed(talks: Talks | int | None = None, **settings: Any) -> Brain:
        brain = Brain(Settings(**settings))
        shown = talks if isinstance(talks, list) else bundled(talks)
        name = hashlib.sha256(json.dumps(shown).encode()).hexdigest()[:16]
        gym = once(kept / name, lambda folder: _observe(shown, folder)) / "brain_gym.db"
        shutil.copy(gym, brain.settings.rl_gym_db_path)
        return brain

    return observed


def _observe(talks: Talks, folder: Path) -> None:
    """Let the embedded engine observe conversations with the hand-written versions, and close the gym."""
    files: Any = {"rl_gym_db_path": folder / "brain_gym.db", "optimized_modules_dir": folder / "none"}
    brain = Brain(Settings(lm_provider="embedded", personalize_enabled=False, **files))
    asyncio.run(replay([write(folder / "talks.jsonl", talks)], brain))
    assert brain.gym is not None
    brain.gym.close()
