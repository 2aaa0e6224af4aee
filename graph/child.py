"""The process of a job: one at a time for a gym, and its result outlives the process that started it.

Its output goes to a file beside the gym. That file is locked as long as the process lives, also when the one that
started it is gone, and what then stands in it is the result.
"""

import fcntl
import json
import os
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from understudy.checkpoints.file import LOCAL_DISK, GymError
from understudy.checkpoints.lease import is_locked

SECONDS_TO_END = 3
"""From SIGTERM to SIGKILL."""

MOST_SAID = 2000
"""Characters of what a process said on stderr that are kept, the last ones."""


@contextmanager
def place(gym: Path) -> Iterator[IO[bytes] | None]:
    """Open the file for the output of a process of this gym; None while another process has it.

    Raises:
        GymError: it cannot be opened or locked.
    """
    path = _file(gym)
    try:
        file = open(os.open(path, os.O_CREAT | os.O_RDWR, 0o600), "r+b")
    except OSError as error:
        raise GymError(f"{path}: cannot be used: {error.strerror}; see to the folder of the gym") from None
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield None
            return
        except OSError as error:
            raise GymError(f"{path}: cannot be locked: {error.strerror}; {LOCAL_DISK}") from None
        yield file


def is_at_work(gym: Path) -> bool:
    """Say whether a process of this gym lives, whoever started it."""
    return is_locked(_file(gym))


def result(gym: Path) -> dict[str, Any] | None:
    """Return what the last process printed, None if that is no whole JSON object with a status."""
    try:
        found = json.loads(_file(gym).read_bytes())
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) and isinstance(found.get("status"), str) else None


def clear(gym: Path) -> None:
    """Forget the result: it may hold what stays in the gym otherwise."""
    os.truncate(_file(gym), 0)


class Child:
    """A process at work.

    Args:
        command: its arguments.
        output: the file from `place`, which it keeps locked while it lives.
        says: whether what it prints goes there; a result that nobody will take would be taken for another run's.
    """

    def __init__(self, command: Sequence[str], output: IO[bytes], *, says: bool = True) -> None:
        # A file, not a pipe: whoever starts it may be gone before it is done. In a session of its own Ctrl-C does not
        # reach it: it is told to end by whoever started it.
        self._said = tempfile.TemporaryFile()
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output if says else subprocess.DEVNULL,
            stderr=self._said,
            start_new_session=True,
            pass_fds=[output.fileno()],
        )

    @property
    def pid(self) -> int:
        """The process."""
        return self._process.pid

    def ended(self, seconds: float) -> bool:
        """Wait at most so long, and say whether it has ended."""
        try:
            self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            return False
        return True

    def stop(self) -> None:
        """Tell it to end; after some seconds end it."""
        self._process.terminate()
        if not self.ended(SECONDS_TO_END):
            self._process.kill()
            self._process.wait()

    def last_words(self) -> tuple[int, list[str]]:
        """Return its exit status, negative for a signal, and the last lines that it wrote on stderr."""
        with self._said as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - MOST_SAID))
            lines = file.read().decode("utf-8", "replace").splitlines()
        return self._process.returncode, [line for line in lines if line.strip()]


def _file(gym: Path) -> Path:
    return gym.with_name(gym.name + "-job")
