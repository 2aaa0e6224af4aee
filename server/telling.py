"""What a host and its people tell over HTTP: messages, how a conversation ended, what is true of a turn.

Messages go into the log, and `understudy serve` reads them; labels are evidence at once.
"""

import threading

from fastapi import APIRouter

from understudy.checkpoints.gym import Gym
from understudy.embed import Understudy
from understudy.events import Label, drawn
from understudy.intake import InputError, clean_text
from understudy.nodes.brain import Brain, own_brain
from understudy.nodes.labels import fitting
from understudy.replay import known
from understudy.reviewing import give
from understudy.server.opening import opened, watching
from understudy.server.problems import Problem
from understudy.server.shapes import Ended, Labelled, LabelOf, Labels, Observed, Replied, Written

telling = APIRouter(tags=["tell"])


class Patient(Understudy):
    """Waits longer for the gym's file than a host can: no customer waits for this answer."""

    wait_seconds = 5.0


class Host:
    """What writes to the log for all callers of this process; opened by the first of them."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._app: Understudy | None = None

    def app(self) -> Understudy:
        """Return it; what is lost is told to the caller.

        Raises:
            GymError: the gym cannot be opened.
        """
        with self._lock:
            if self._app is None:
                self._app = Patient(own_brain().settings.model_copy(update={"brain_strict": True}))
            return self._app

    def close(self) -> None:
        """Close it; the next caller opens it again."""
        with self._lock:
            if self._app is not None:
                self._app.close()
                self._app = None


HOST = Host()


@telling.post("/observe", status_code=202, responses={404: {}, 409: {}})
def observe(message: Observed) -> Written:
    """Show a customer's message."""
    _, gym = watching()
    repeated = _is_known(gym, message.conversation_id, message.message_id)
    return _written(message.conversation_id, HOST.app().observe(**dict(message)), repeated)


@telling.post("/replied", status_code=202, responses={409: {}})
def replied(message: Replied) -> Written:
    """Show what the agent answered."""
    _, gym = watching()
    repeated = _is_known(gym, message.conversation_id, message.message_id)
    return _written(message.conversation_id, HOST.app().replied(**dict(message)), repeated)


@telling.post("/outcome", status_code=202, responses={404: {}})
def outcome(ending: Ended) -> Written:
    """Say how a conversation ended; this is evidence, and it closes the conversation."""
    watching()
    return _written(ending.conversation_id, HOST.app().outcome(**dict(ending)), repeated=False)


@telling.post("/labels", responses={404: {}})
def labels(given: Labels) -> Labelled:
    """Say what is true of turns: one label, or up to 100, all of them or none.

    The first that does not fit is named by its place, and then nothing is written. A later label corrects an earlier
    one; both are kept.
    """
    brain, gym = opened()
    several = isinstance(given, list)
    given = given if isinstance(given, list) else [given]
    checked = _checked(brain, gym, given, several)
    give(brain, checked)
    return Labelled(labelled=len(given), **gym.tally(sorted(checked)))


def _checked(brain: Brain, gym: Gym, given: list[LabelOf], several: bool) -> dict[str, list[Label]]:
    """Return labels as they are kept, by conversation; `several`: errors say which one.

    Raises:
        ReplayError: the gym does not know a conversation.
        Problem: a conversation has no such turn.
        InputError: there is no such field, or a value is none of the conversation's profile.
    """
    checked: dict[str, list[Label]] = {}
    for place, one in enumerate(given):
        _, profile = known(brain, one.conversation_id)
        where = f"{place}: " if several else ""
        if not gym.has_turn(one.conversation_id, one.turn):
            raise Problem(404, f"{where}turn: conversation {one.conversation_id!r} has no turn {one.turn}")
        label = Label(turn=one.turn, fields=one.fields, author=one.author and clean_text(one.author))
        try:
            fits = fitting(label, gym, one.conversation_id, profile)
        except InputError as error:
            raise InputError(f"{where}{error}") from None
        checked.setdefault(one.conversation_id, []).append(fits)
    return checked


def _is_known(gym: Gym, conversation_id: str, message_id: str | None) -> bool:
    name = clean_text(conversation_id)
    return message_id is not None and bool(gym.known_ids(name, [clean_text(message_id)]))


def _written(conversation_id: str, written: bool, repeated: bool) -> Written:
    if written:
        return Written(written=True, repeated=repeated, reason=None)
    share = own_brain().settings.observe_share
    drawn_out = drawn("observe", clean_text(conversation_id)) >= share
    return Written(written=False, repeated=False, reason=f"OBSERVE_SHARE={share:g}" if drawn_out else "switched off")
