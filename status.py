"""What the gym holds, whether everything is there, and everything as rows."""

import os
import shutil
import stat
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from typing import Any

import dspy

from understudy.checkpoints.gym import Gym
from understudy.intake import UnderstudyError
from understudy.lm.adapter import AnswerAdapter
from understudy.lm.roles import get_student_lm
from understudy.nodes.brain import Brain
from understudy.nodes.modules import MODULES
from understudy.profile import load_profile
from understudy.settings import Settings
from understudy.state import Context

MIN_FREE_MB = 200


class NoGym(UnderstudyError):
    """The command needs the gym, and it is switched off."""


def status(brain: Brain) -> dict[str, Any]:
    """Return what `understudy status --json` prints."""
    gym, profile = _gym(brain), brain.profile(None)
    counts = gym.counts()
    latency = gym.recent_latency_ms()
    hours = counts["backlog"] * latency / brain.parallel / 3_600_000 if latency else None
    return {
        "decisions": counts["decisions"],
        "conversations": counts["conversations"],
        "evidence": {name: gym.count_evidence(faculty.main_fields) for name, faculty in MODULES.items()},
        "since_last_optimization": counts["decisions"],
        "modules": {name: brain.version(faculty, profile.name, Context()) for name, faculty in MODULES.items()},
        "profile": profile.name,
        "backlog": counts["backlog"],
        "hours_to_drain": 0.0 if not counts["backlog"] else hours and round(hours, 3),
        "models": {"student": brain.student.model},
        "engine": brain.settings.lm_provider,
        "jobs": [],
        "gym": str(gym.path),
    }


def exported(brain: Brain) -> Iterator[dict[str, Any]]:
    """Yield every decision with the conversation before it and its evidence."""
    gym = _gym(brain)
    for decision in gym.decisions():
        history = gym.history(decision.conversation_id, decision.history_upto, decision.history_upto + 1)
        evidence = gym.evidence(decision.conversation_id, decision.turn)
        yield {**decision.model_dump(), "conversation_history": history, "evidence": evidence}


def doctor() -> list[dict[str, Any]]:
    """Return the checks: name, ok, detail; each says what to do when it is not ok."""
    checks: list[dict[str, Any]] = []

    def check(name: str, look: Callable[[], str]) -> None:
        try:
            checks.append({"name": name, "ok": True, "detail": look()})
        except UnderstudyError as error:
            checks.append({"name": name, "ok": False, "detail": str(error).replace("\n", "; ")})

    check("settings", lambda: f"LM_PROVIDER={Settings().lm_provider}, BRAIN_MODE={Settings().brain_mode}")
    if not checks[0]["ok"]:
        return checks
    settings = Settings()
    check("profile", lambda: _profile(settings))
    check("gym", lambda: _gym_is_sound(settings))
    check("disk", lambda: _room(settings))
    check("student", lambda: _answers(settings))
    check("server", _server)
    return checks


def _gym(brain: Brain) -> Gym:
    if brain.gym is None:
        raise NoGym("RL_GYM_ENABLED=false: there is no gym; set it to true")
    return brain.gym


def _profile(settings: Settings) -> str:
    profile = load_profile(settings.brain_profile)
    return f"{profile.name}: {len(profile.intents)} intents, {len(profile.next_steps)} next steps"


def _gym_is_sound(settings: Settings) -> str:
    path = settings.rl_gym_db_path
    if not settings.rl_gym_enabled:
        return "switched off (RL_GYM_ENABLED=false)"
    if not path.exists():
        return f"{path} is not there yet; the first observation makes it"
    gym = Gym(path)
    found, mode = gym.check(), stat.S_IMODE(os.stat(path).st_mode)
    gym.close()
    if found != "ok":
        raise UnderstudyError(f"{path} is damaged: {found}; restore a backup, or set RL_GYM_DB_PATH to another file")
    if mode & 0o077:
        raise UnderstudyError(f"{path} can be read by others (mode {mode:o}); run: chmod 600 {path}")
    return f"{path} is sound, mode {mode:o}"


def _room(settings: Settings) -> str:
    folders = settings.rl_gym_db_path.absolute().parents
    free = shutil.disk_usage(next(folder for folder in folders if folder.is_dir())).free // 1_000_000
    if free < MIN_FREE_MB:
        raise UnderstudyError(f"{free} MB free beside {settings.rl_gym_db_path}; make room for {MIN_FREE_MB} MB")
    return f"{free:,} MB free"


def _answers(settings: Settings) -> str:
    student = get_student_lm(settings)
    program = MODULES["conflict"].program(load_profile(settings.brain_profile))
    with dspy.context(lm=student, adapter=AnswerAdapter(), disable_history=True, trace=None):
        answer = program(history=[], message="Can you take my van on Friday?")
    return f"{student.model} answered in the form that was asked for (conflict_type {answer.conflict_type})"


def _server() -> str:
    if find_spec("langgraph_api") is None:
        return "langgraph dev is not installed; for Studio: pip install 'understudy[server]'"
    return "langgraph dev is installed"
