"""Folders and files for their owner alone, whatever the umask is."""

import errno
import os
from functools import partial
from pathlib import Path

FOLDER, FILE = 0o700, 0o600


def make_private(folder: Path) -> None:
    """Make a folder, and those above it that are missing; one that is there keeps its mode."""
    for one in (*reversed(folder.parents), folder):
        if not one.is_dir():
            one.mkdir(mode=FOLDER, exist_ok=True)


def write_private(path: Path, text: str) -> None:
    """Write a text into a new file that takes the place of one that is there, whose mode may be another.

    Raises:
        OSError: it cannot be written, or something else than a file is there.
    """
    path = path.resolve()
    if path.exists() and not path.is_file():
        raise OSError(errno.EINVAL, "it is no plain file")
    unfinished = path.with_name(f".{path.name[:200]}.{os.getpid()}")
    try:
        with open(unfinished, "w", encoding="utf-8", opener=partial(os.open, mode=FILE)) as file:
            file.write(text)
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)
