"""Copy the gym and the saved programs into a folder while everything goes on running: as a whole, or not at all."""

import errno
import os
import re
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from fcntl import LOCK_SH, flock
from pathlib import Path
from typing import Any

from understudy.checkpoints.private import make_private
from understudy.checkpoints.shelf import Shelf, VersionError
from understudy.checkpoints.soundness import contents, flaws, room_needed, snapshot, sync
from understudy.intake import UnderstudyError
from understudy.settings import Settings

GYM, PROGRAMS, REPORTS = "brain_gym.db", "optimized_modules", "reports"
RUN_MARKS = (".runs", ".optimizing", ".dreaming")
"""What runs make in a profile's folder."""


class BackupError(UnderstudyError):
    """There is no backup; the message says why."""


def backup(
    settings: Settings, folder: Path, on_progress: Callable[[int, int], None] = lambda done, of: None
) -> dict[str, Any]:
    """Copy the gym (RL_GYM_DB_PATH) and the programs (OPTIMIZED_MODULES_DIR); neither is changed or held up.

    Args:
        settings: say where both are.
        folder: the copy; it must not be there, or be empty.
        on_progress: told how many bytes of the gym, of about how many, are written.

    Returns:
        What `understudy backup --json` prints: folder, gym_bytes, conversations, decisions, versions, damaged (programs
        that are not whole, there and in the copy), seconds.

    Raises:
        BackupError: the copy cannot be made.
        GymError: the gym cannot be read.
    """
    started, gym, programs = time.perf_counter(), settings.rl_gym_db_path, settings.optimized_modules_dir
    if not gym.is_file():
        raise BackupError(f"there is no gym at {gym}; check RL_GYM_DB_PATH")
    _refuse(folder, programs)
    files = [path for shelf in shelves(programs) for path in _files_of(shelf)] + _reports(programs)
    with _whole_or_not(folder, room_needed(gym) + sum(path.stat().st_size for path in files)) as unfinished:
        copy = unfinished / GYM
        snapshot(gym, copy, on_progress)
        if (found := flaws(copy, thorough=True)) != "ok":
            raise BackupError(f"{folder}: the copy of {gym} is not sound: {found}; try again on another disk")
        _copy_programs(programs, unfinished / PROGRAMS)
        copied = list(shelves(unfinished / PROGRAMS))
        report = {
            "folder": str(folder),
            "gym_bytes": copy.stat().st_size,
            **contents(copy),
            "versions": sum(len(shelf.files()) for shelf in copied),
            "damaged": [line for shelf in copied for line in damaged(shelf).values()],
        }
    return {**report, "seconds": round(time.perf_counter() - started, 3)}


def shelves(root: Path) -> Iterator[Shelf]:
    """Yield the folders of programs in OPTIMIZED_MODULES_DIR, by profile and module; others keep theirs there too."""
    for folder in sorted(root.glob("*/*/")):
        names = (folder.parent.name, folder.name)
        if all(re.fullmatch(r"[a-z0-9_]{1,40}", name) for name in names):
            shelf = Shelf(root, *names)
            if shelf.files() or all(os.path.isfile(folder / name) for name in ("latest.json", ".lock")):
                yield shelf


def profiles(root: Path) -> list[Path]:
    """Return the folders of profiles in OPTIMIZED_MODULES_DIR: those with a shelf, or with what a run leaves there."""
    marks = (path for name in RUN_MARKS for path in root.glob(f"*/{name}"))
    return sorted({path.parent for path in (*marks, *(shelf.folder for shelf in shelves(root)))})


def damaged(shelf: Shelf) -> dict[str, str]:
    """Return the versions whose files are not whole, and what is wrong with each."""
    found = {}
    for version in shelf.files():
        try:
            shelf.read(version)
        except VersionError as error:
            found[version] = str(error).partition("; there are")[0]
    return found


def _refuse(folder: Path, programs: Path) -> None:
    """Refuse a folder that is of no use."""
    place = folder.absolute()
    try:
        str(place).encode()  # SQLite takes no other names
        is_used = folder.is_symlink() or (folder.exists() and (not folder.is_dir() or any(folder.iterdir())))
        is_disk = place.is_mount()
        is_inside = programs.resolve() in place.resolve().parents
    except UnicodeEncodeError:
        raise BackupError(f"{str(place)!a}: is no UTF-8; name another folder") from None
    except OSError as error:
        raise BackupError(f"{folder}: cannot be used: {error.strerror}; name another folder") from None
    if is_used:
        raise BackupError(f"{folder}: is there already; name a folder that is not there yet, or an empty one")
    if is_disk:
        raise BackupError(f"{folder}: a disk is mounted there; name a folder on it")
    if is_inside:
        raise BackupError(f"{folder}: is inside OPTIMIZED_MODULES_DIR; name a folder elsewhere")


@contextmanager
def _whole_or_not(folder: Path, needed: int) -> Iterator[Path]:
    """Yield a folder beside it, which takes its place when all has gone well, and else goes away."""
    unfinished = folder.absolute().with_name(f"{folder.absolute().name}.unfinished")
    try:
        make_private(unfinished.parent)
        if (free := shutil.disk_usage(unfinished.parent).free) < needed:
            raise OSError(errno.ENOSPC, f"{needed / 1e6:,.1f} MB are needed, {free / 1e6:,.1f} MB are free")
        if unfinished.exists():
            raise BackupError(f"{unfinished} is there: another backup is at work on it, or was killed; then remove it")
        unfinished.mkdir(mode=0o700)
    except OSError as error:
        raise BackupError(f"{folder}: cannot be written: {error.strerror}") from None
    try:
        yield unfinished
        for path in (*unfinished.rglob("*"), unfinished):
            sync(path)
        unfinished.rename(folder.absolute())
        sync(unfinished.parent)
    except OSError as error:
        raise BackupError(f"{folder}: cannot be written: {error.strerror}; nothing is left of it") from None
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)


def _copy_programs(programs: Path, to: Path) -> None:
    to.mkdir(mode=0o700)
    for shelf in shelves(programs):
        with _held(shelf):
            for path in _files_of(shelf):
                _copy(path, to / shelf.profile / shelf.module)
    for path in _reports(programs):
        _copy(path, to / path.parent.parent.name / REPORTS)


def _files_of(shelf: Shelf) -> list[Path]:
    return [path for path in sorted(shelf.folder.glob("[!.]*.json")) if path.is_file()]


def _reports(programs: Path) -> list[Path]:
    found = (path for profile in profiles(programs) for path in sorted(profile.glob(f"{REPORTS}/[!.]*.html")))
    return [path for path in found if path.is_file()]


@contextmanager
def _held(shelf: Shelf) -> Iterator[None]:
    """Let nobody save or erase a program of the shelf; where nobody ever has, there is no lock to hold."""
    try:
        lock = os.open(shelf.folder / ".lock", os.O_RDONLY)
    except FileNotFoundError:
        yield
        return
    try:
        flock(lock, LOCK_SH)
        yield
    finally:
        os.close(lock)


def _copy(path: Path, folder: Path) -> None:
    for one in (folder.parent, folder):
        one.mkdir(mode=0o700, exist_ok=True)
    with suppress(FileNotFoundError):  # a report or a program that has gone meanwhile
        content = path.read_bytes()
        with open(os.open(folder / path.name, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600), "wb") as file:
            file.write(content)
