"""What a host's calls have lost: counted, told in the host's log, and written into the gym when that can be done."""

import logging
from dataclasses import dataclass
from threading import Lock
from time import monotonic
from typing import Literal

from understudy.checkpoints.file import GymError, GymFile, now
from understudy.checkpoints.host import Loss, add_losses, is_busy, is_full
from understudy.intake import InputError, UnderstudyError, public
from understudy.profile import ProfileError

log = logging.getLogger("understudy")

Reason = Literal["locked", "full", "unusable", "refused", "unknown", "inbox_full", "closed", "failed"]
"""Why a call wrote nothing.

Another program held the gym's file; its disk is full; it cannot be used for another reason; what was given does not
have its form, or has the id of the other side's message; the gym does not know the conversation; INBOX_MAX; it came
after `close`, or after a fork in the middle of a call; a defect of understudy.
"""

TELL_SECONDS = 60.0
"""How often a reason is told in the log while it lasts."""


class NotObserved(UnderstudyError):
    """A call has its form and wrote nothing, as things are; it is raised with BRAIN_STRICT only."""

    def __init__(self, reason: Reason, message: str) -> None:
        super().__init__(message)
        self.reason: Reason = reason


def reason_of(error: Exception) -> Reason:
    """Return why a call wrote nothing."""
    if isinstance(error, NotObserved):
        return error.reason
    if isinstance(error, InputError | ProfileError):
        return "refused"
    if isinstance(error, GymError):
        cause = error.__cause__
        return "locked" if is_busy(cause) else "full" if is_full(cause) else "unusable"
    return "failed"


@dataclass
class _Tally:
    calls: int = 0
    unwritten: int = 0
    first_at: str = ""
    last_at: str = ""
    told: int = 0
    told_at: float = float("-inf")


class Losses:
    """Counts what is lost; thread-safe."""

    def __init__(self) -> None:
        self._tallies: dict[Reason, _Tally] = {}
        self._lock = Lock()

    @property
    def counts(self) -> dict[str, int]:
        """How many calls of this process have written nothing, by reason."""
        with self._lock:
            return {reason: tally.calls for reason, tally in sorted(self._tallies.items())}

    @property
    def are_unwritten(self) -> bool:
        """Whether there are some that the gym does not know of."""
        with self._lock:
            return any(tally.unwritten for tally in self._tallies.values())

    def add(self, error: Exception, conversation_id: object) -> None:
        """Count a call, and tell of it unless its reason has been told lately."""
        reason, at = reason_of(error), now()
        with self._lock:
            tally = self._tallies.setdefault(reason, _Tally())
            tally.calls += 1
            tally.unwritten += 1
            tally.first_at, tally.last_at = tally.first_at or at, at
            if monotonic() < tally.told_at + TELL_SECONDS:
                return
            calls, tally.told, tally.told_at = tally.calls - tally.told, tally.calls, monotonic()
        name = repr(conversation_id[:80]) if isinstance(conversation_id, str) else type(conversation_id).__name__
        log.warning("%d not observed, the last of conversation %s: %s: %s", calls, name, reason, public(error))

    def write(self, gym: GymFile) -> None:
        """Write what has not been written yet.

        Raises:
            GymError: that cannot be done now; nothing is forgotten.
        """
        with self._lock:
            taken = {reason: tally.unwritten for reason, tally in self._tallies.items() if tally.unwritten}
            rows: list[Loss] = [(r, n, self._tallies[r].first_at, self._tallies[r].last_at) for r, n in taken.items()]
        if not rows:
            return
        add_losses(gym, rows)
        with self._lock:
            for reason, calls in taken.items():
                self._tallies[reason].unwritten -= calls
