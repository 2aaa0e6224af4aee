"""Folders and files for their owner alone, whatever the umask is."""

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
    """Write a text into a new file, or over one that is there."""
    with open(path, "w", encoding="utf-8", opener=partial(os.open, mode=FILE)) as file:
        file.write(text)
