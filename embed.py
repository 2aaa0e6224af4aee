"""What a chat app holds: every call is one durable write to the gym's log, and never raises into the app."""

import asyncio
import logging
import os
import threading
from collections.abc import Awaitable, Callable
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import datetime
from functools import partial, wraps
from time import monotonic
from typing import Any, Concatenate, ParamSpec, Self, TypeVar
from uuid import uuid4

from pydantic import BaseModel, ValidationError

from understudy.checkpoints.file import GymError, now
from understudy.checkpoints.gym import Gym
from understudy.door import Door
from understudy.events import MAX_MESSAGE_ID, Event, Label, Outcome, Role, drawn, line_of, said
from understudy.intake import InputError, moment, shape_error, short_name, table
from understudy.losing import NotObserved
from understudy.profile import load_profile, registered_profile
from understudy.settings import Settings, current_settings

log = logging.getLogger("understudy")

P = ParamSpec("P")
M = TypeVar("M", bound=BaseModel)
Call = Callable[Concatenate["Understudy", P], bool]
Told = Callable[[Gym, str], list[Event]]
"""What a call writes, in view of the gym and the conversation."""

WAIT_SECONDS = 0.25
"""How long a call waits for the gym's file, all in all. A customer who waits for an answer does not notice it, and no
write of ours holds the file that long."""


def _later(call: Call[P]) -> Callable[Concatenate["Understudy", P], Awaitable[bool]]:
    """Return the asynchronous twin of a call; calls are done in the order they are made, whoever awaits them when.

    A call that has been made is done, also when whoever awaits it is cancelled, as a web server does to a customer's
    request when the customer has gone.
    """

    @wraps(call)
    async def twin(self: "Understudy", /, *args: P.args, **kwargs: P.kwargs) -> bool:
        run = partial(self._by, monotonic() + self.wait_seconds, partial(call, self, *args, **kwargs))
        done: Future[bool] = Future()
        done.set_running_or_notify_cancel()  # nobody can cancel it from now on
        try:
            self._pool().submit(_do, run, done)
        except RuntimeError:  # it is closed, or the interpreter ends
            return run()
        return await asyncio.wrap_future(done)

    return twin


def _do(run: Callable[[], bool], done: "Future[bool]") -> None:
    try:
        done.set_result(run())
    except Exception as error:  # noqa: BLE001  (with BRAIN_STRICT; it is for whoever awaits it)
        done.set_exception(error)


class Understudy:
    """Shows the understudy what happens in a chat; one for a process, for all its threads and event loops.

    A call returns True when what it was given is in the gym's log, where it survives a killed process; the shadow reads
    it there, in `understudy serve` or in a worker of this process. Otherwise it returns False: the conversation is not
    in OBSERVE_SHARE, the understudy is switched off, or something is lost, which `losses` and `understudy status`
    count, and the log tells once a minute. With BRAIN_STRICT a loss raises.

    Args:
        settings: None takes those of the environment.
        worker: read turns in this process, in a thread of its own, while no other process does.

    Raises:
        SettingsError, ProfileError: a setting is wrong.
        GymError: with BRAIN_STRICT, the gym cannot be opened.
    """

    wait_seconds = WAIT_SECONDS
    """How long a call waits for the gym's file."""

    def __init__(self, settings: Settings | None = None, *, worker: bool = False) -> None:
        self._settings = settings or current_settings()
        self._profile = load_profile(self._settings.brain_profile).name
        self._is_on = self._settings.brain_enabled and self._settings.rl_gym_enabled
        self._called = threading.local()
        self._threads = ThreadPoolExecutor(1, "understudy-call"), os.getpid()
        self._door = Door(self._settings, has_worker=worker and self._is_on)
        if self._is_on:
            try:
                self._door.open()
            except GymError as error:
                if self._settings.brain_strict:
                    self._door.close()
                    raise
                log.warning("nothing can be observed yet: %s", error)

    @property
    def losses(self) -> dict[str, int]:
        """How many calls of this process have written nothing, by reason."""
        return self._door.losses.counts

    def observe(
        self,
        conversation_id: str,
        text: str,
        *,
        message_id: str | None = None,
        profile: str | None = None,
        state: dict[str, Any] | None = None,
        customer: dict[str, Any] | None = None,
        at: datetime | str | None = None,
    ) -> bool:
        """Show a customer's message.

        Args:
            conversation_id: text of up to 200 characters.
            text: what is longer than 100,000 characters is cut and marked.
            message_id: of the host; one that repeats is written once, and one that the agent's messages have is
                refused. None takes a new one.
            profile: the domain of a conversation that begins; None takes BRAIN_PROFILE.
            state: what the host knows at this turn; JSON.
            customer: who is speaking: `name`, `preferences`, whatever else; JSON.
            at: when it was said (a `datetime`, or ISO 8601; without a zone it is UTC); None is now.
        """

        def build() -> Told:
            told = {"state": table("state", state), "customer": table("customer", customer)}
            return _message("customer", text, None, message_id, at, {k: v for k, v in told.items() if v})

        return self._tell(conversation_id, build, profile=profile)

    def replied(
        self,
        conversation_id: str,
        text: str,
        *,
        action: str | None = None,
        message_id: str | None = None,
        at: datetime | str | None = None,
    ) -> bool:
        """Show what the agent answered, and what it did, as the host names it."""
        return self._tell(conversation_id, lambda: _message("agent", text, action, message_id, at))

    def outcome(
        self, conversation_id: str, workflow_outcome: str | None = None, user_satisfaction: float | None = None
    ) -> bool:
        """Say how a conversation ended: success, failure or abandoned, and how content the customer was, 0 to 1."""
        told = {"workflow_outcome": workflow_outcome, "user_satisfaction": user_satisfaction}

        def build() -> Told:
            event = _shaped(Outcome, told).event(now())
            return lambda gym, name: [event]

        return self._tell(conversation_id, build, begins=False)

    def label(self, conversation_id: str, turn: int, **fields: Any) -> bool:
        """Say what is true of a turn, as a person knows: any field of any module.

        The first call loads the modules, which takes seconds.
        """
        if not self._is_on:
            return False
        from understudy.nodes.labels import fitting  # DSPy

        def event(gym: Gym, name: str) -> list[Event]:
            own = self._settings.brain_profile
            profile = registered_profile(gym.profile_of(name) or self._profile, own)
            told = _shaped(Label, {"turn": turn, "fields": fields})
            return [fitting(told, gym, name, profile).event(now())]

        return self._tell(conversation_id, lambda: event, begins=False)

    def observe_messages(self, conversation_id: str, messages: Any) -> bool:
        """Show the messages of a LangGraph agent, all of them or the newest; those the log has are skipped by their id.

        Humans are the customer, AIs the agent; an agent's action stands in `additional_kwargs["action"]`. One write,
        whatever is new.
        """
        return self._tell(conversation_id, lambda: _new_of(messages))

    def close(self) -> None:
        """End the worker and close the gym, within a few seconds; calls that come later write nothing."""
        self._pool().shutdown()
        self._door.close()

    aobserve = _later(observe)
    areplied = _later(replied)
    aoutcome = _later(outcome)
    aobserve_messages = _later(observe_messages)

    async def alabel(self, conversation_id: str, turn: int, **fields: Any) -> bool:
        """Do as `label` does."""
        return await asyncio.to_thread(self.label, conversation_id, turn, **fields)

    async def aclose(self) -> None:
        """Do as `close` does."""
        await asyncio.to_thread(self.close)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *error: object) -> None:
        await self.aclose()

    # How a call is done

    def _tell(
        self, conversation_id: str, build: Callable[[], Told], *, profile: str | None = None, begins: bool = True
    ) -> bool:
        """Write what `build` returns, unless the conversation is none that is watched."""
        if not self._is_on:
            return False
        deadline = getattr(self._called, "deadline", None) or monotonic() + self.wait_seconds
        own = self._settings.brain_profile
        try:
            name = short_name("conversation_id", conversation_id)
            if drawn("observe", name) >= self._settings.observe_share:
                return False
            known = self._profile if profile is None else registered_profile(short_name("profile", profile), own).name
            self._door.write(name, build(), known, begins=begins, deadline=deadline)
            return True
        except Exception as error:  # noqa: BLE001  (whatever it is, the host goes on)
            if self._settings.brain_strict:
                raise
            self._door.losses.add(error, conversation_id)
            return False

    def _pool(self) -> ThreadPoolExecutor:
        """Return the thread of the asynchronous calls; a forked process has one of its own."""
        if self._threads[1] != os.getpid():
            self._threads = ThreadPoolExecutor(1, "understudy-call"), os.getpid()
        return self._threads[0]

    def _by(self, deadline: float, call: Callable[[], bool]) -> bool:
        """Do a call that may have waited for its turn."""
        self._called.deadline = deadline
        try:
            return call()
        finally:
            self._called.deadline = None


def _message(
    role: Role, text: Any, action: Any, message_id: Any, at: Any, payload: dict[str, Any] | None = None
) -> Told:
    if not isinstance(text, str):
        raise InputError(f"text: must be text, is {type(text).__name__}")
    if not isinstance(action, str | None):
        raise InputError(f"action: must be text, is {type(action).__name__}")
    try:
        moment_of = now() if at is None else moment(at)
    except ValueError as error:
        raise InputError(f"at: {error}") from None
    name = str(uuid4()) if message_id is None else short_name("message_id", message_id, MAX_MESSAGE_ID)
    event = said(line_of(role, text, action), name, payload, moment_of)

    def events(gym: Gym, conversation_id: str) -> list[Event]:
        if message_id is not None and (known := gym.role_of(conversation_id, name)) not in (None, role):
            raise NotObserved("refused", f"message_id: a message of the {known} has it; each needs one of its own")
        return [event]

    return events


def _new_of(messages: Any) -> Told:
    from understudy.messages import chat_by_id  # LangChain

    chat = chat_by_id(messages)

    def events(gym: Gym, name: str) -> list[Event]:
        known, at = gym.known_ids(name, list(chat)), now()
        return [said(line, message_id, at=at) for message_id, line in chat.items() if message_id not in known]

    return events


def _shaped(kind: type[M], told: dict[str, Any]) -> M:
    try:
        return kind.model_validate(told)
    except ValidationError as error:
        raise InputError(shape_error(error)) from None
