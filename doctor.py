"""Is everything there? Each check says what to do when something is not."""

import os
import shutil
import stat
from collections.abc import Callable
from functools import partial
from importlib.util import find_spec
from typing import Any

import dspy

from understudy.checkpoints.gym import Gym
from understudy.intake import UnderstudyError
from understudy.lm.adapter import AnswerAdapter
from understudy.lm.roles import Role, get_lm, talkers
from understudy.lm.stock import checks as server_checks
from understudy.nodes.modules import MODULES
from understudy.profile import load_profile
from understudy.settings import Settings

MIN_FREE_MB = 200


def doctor() -> list[dict[str, Any]]:
    """Return the checks: name, ok, detail."""
    checks: list[dict[str, Any]] = []

    def check(name: str, look: Callable[[], str]) -> bool:
        try:
            checks.append({"name": name, "ok": True, "detail": look()})
        except (UnderstudyError, dspy.LMError) as error:
            checks.append({"name": name, "ok": False, "detail": str(error).replace("\n", "; ")})
        return bool(checks[-1]["ok"])

    if not check("settings", lambda: f"LM_PROVIDER={Settings().lm_provider}, BRAIN_MODE={Settings().brain_mode}"):
        return checks
    settings = Settings()
    check("profile", lambda: _profile(settings))
    check("gym", lambda: _gym_is_sound(settings))
    check("disk", lambda: _room(settings))
    for name, look in server_checks(settings):
        if not check(name, look):
            break
    else:
        for role in talkers(settings):
            check(role, partial(_answers, role, settings))
    check("server", _server)
    return checks


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


def _answers(role: Role, settings: Settings) -> str:
    """Let a role answer one turn of a conversation in the form of the conflict monitor."""
    lm, adapter = get_lm(role, settings), AnswerAdapter()
    program = MODULES["conflict"].program(load_profile(settings.brain_profile))
    with dspy.context(lm=lm, adapter=adapter, disable_history=True, trace=None):
        answer = program(history=[], message="Can you take my van on Friday?")
    spent = adapter.spent
    seconds = sum(spent.get(name, 0) for name in ("load_ms", "prompt_ms", "generate_ms")) / 1000
    speed = f", {spent['tokens_out'] / spent['generate_ms'] * 1000:.0f} tokens/s" if spent.get("generate_ms") else ""
    pace = f" in {seconds:.1f} s{speed}" if seconds else ""
    needed = f"; it needed {', '.join(spent['repairs'])}" if "repairs" in spent else ""
    return f"{lm.model} answered in the form that was asked for{pace} (conflict_type {answer.conflict_type}){needed}"


def _server() -> str:
    if find_spec("langgraph_api") is None:
        return "langgraph dev is not installed; for Studio: pip install 'understudy[server]'"
    return "langgraph dev is installed"
