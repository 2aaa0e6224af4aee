"""Ends a server that must not start; app.py imports this before anything that reads a setting."""

import multiprocessing
import os
import signal
import sys
from typing import NoReturn
from urllib.parse import urlsplit

from understudy.checkpoints.file import GymError
from understudy.checkpoints.gym import Gym
from understudy.server.guard import name_of
from understudy.server.token import needed_token
from understudy.settings import MAKE_TOKEN, SettingsError, current_settings, is_local


def check_start() -> None:
    """End the process, with one line, where settings are wrong, others could call without a token, or no gym opens.

    LANGGRAPH_API_URL is where `langgraph dev` is about to listen, or its tunnel's address. An image has no such
    variable: there the lock sees who calls.
    """
    try:
        token = needed_token()
    except SettingsError as error:
        _stop(str(error))
    url = os.environ.get("LANGGRAPH_API_URL")
    if url and token is None and not is_local(name_of(urlsplit(url).netloc) or ""):
        _stop(f"{url} can be reached by others: set BRAIN_API_TOKEN ({MAKE_TOKEN} makes one), or use --host 127.0.0.1")
    if url and current_settings().rl_gym_enabled:  # what LangGraph would say of its checkpointer is a traceback
        try:
            Gym(current_settings().rl_gym_db_path).close()
        except GymError as error:
            _stop(str(error))


def _stop(why: str) -> NoReturn:
    line, reloader = f"understudy: {why}", _reloader()
    if reloader is None:
        raise SystemExit(line)
    sys.stderr.write(f"{line}\n")
    os.kill(reloader, signal.SIGUSR1)  # SIGTERM would look like success, and nohup keeps SIGHUP off
    raise SystemExit(1)


def _reloader() -> int | None:
    """Return the process that started this one and would wait for a file to change, if there is one: uvicorn's."""
    started, by = getattr(multiprocessing.current_process(), "_target", None), multiprocessing.parent_process()
    return by.pid if by is not None and getattr(started, "__module__", "") == "uvicorn._subprocess" else None


check_start()
