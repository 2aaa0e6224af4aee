"""The files of one module's versions: each is whole or not there, whoever is killed and whoever else writes.

Writers take turns by a lock. They write the metadata first, the program next and `latest.json` last, each by renaming a
finished file, so a reader needs no lock: a version exists once its program is there and fits the checksum beside it.
"""

import fcntl
import json
import logging
import os
import re
import tempfile
import time
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from understudy.checkpoints.metadata import Status, VersionMetadata, digest, sealed, unsealed
from understudy.checkpoints.private import make_private
from understudy.checkpoints.program import State
from understudy.intake import UnderstudyError

BASELINE = "v0.0"
KEPT = 5
"""Versions that pruning leaves."""
MOVES = 100
"""Moves of `latest` that are remembered."""
DAY = 24 * 3600

_VERSION = r"v(?:0|[1-9][0-9]{0,5})\.(?:0|[1-9][0-9]{0,5})"
_PROGRAM = re.compile(rf"({_VERSION})_(?:baseline|[0-9]{{8}})\.json")
_DAMAGE = (OSError, ValueError, LookupError, TypeError, AttributeError)

log = logging.getLogger("understudy")


class VersionError(UnderstudyError):
    """A version cannot be loaded or saved; the message says why, and which there are."""


class NoVersion(VersionError):
    """There is no such version; the message says which there are."""


@dataclass(frozen=True)
class Saved:
    """A version that has been read and is whole."""

    path: Path
    state: State
    metadata: VersionMetadata


class Shelf:
    """The versions of one module for one profile.

    Raises:
        VersionError: the profile's or module's name cannot be the name of a folder.
    """

    def __init__(self, root: Path, profile: str, module: str) -> None:
        for name in (profile, module):
            if not re.fullmatch(r"[a-z0-9_]{1,40}", name):
                raise VersionError(f"{name[:60]!r}: a profile or module is named by 1 to 40 of a-z, 0-9 and _")
        self.root, self.profile, self.module = root, profile, module
        self.folder = root / profile / module
        self._pointer = self.folder / "latest.json"
        self._latest: tuple[Any, str] | None = None
        self._where: dict[str, tuple[Path, Path]] = {}

    def files(self) -> dict[str, Path]:
        """Return the programs' files by version, oldest version first, whole or not."""
        try:
            names = sorted(os.listdir(self.folder))
        except OSError:
            return {}
        found = {match[1]: self.folder / match[0] for match in map(_PROGRAM.fullmatch, names) if match}
        return {version: found[version] for version in sorted(found, key=parts)}

    def versions(self) -> dict[str, VersionMetadata]:
        """Return the versions that exist, oldest first."""
        known = {}
        for version, path in self.files().items():
            with suppress(*_DAMAGE):
                known[version] = self._read(version, path).metadata
        return known

    def read(self, version: str) -> Saved:
        """Return a version.

        Raises:
            NoVersion: there is none.
            VersionError: its file or its metadata is damaged, or of another module.
        """
        path = self.files().get(version)
        if path is None:
            raise NoVersion(f"no version {version[:60]} of {self.module!r}; {self.there_are()}")
        try:
            return self._read(version, path)
        except _DAMAGE as error:
            raise VersionError(f"{path}: is damaged ({_line(error)}); {self.there_are()}") from error

    def stamp(self, version: str) -> Any:
        """Return a value that is another one once the version's files have changed; it costs two looks at them."""
        known = self._where.get(version)
        stamp = _stamp(*known) if known else (None,)
        if stamp[0] is None and (path := self.files().get(version)):
            known = self._where[version] = (path, _beside(path))
            stamp = _stamp(*known)
        return stamp

    def latest(self) -> str:
        """Return the version that is loaded; it costs two looks at the folder as long as nothing has changed there.

        When `latest.json` is missing or damaged, it is the newest published version that exists, with a warning.
        """
        stamp = _stamp(self._pointer, self.folder)
        if self._latest is None or self._latest[0] != stamp:
            self._latest = (stamp, self._read_latest())
        return self._latest[1]

    def published(self) -> list[str]:
        """Return what may stand in for a version that does not load, the best first; the baseline comes last."""
        known = self.versions()
        newest = [version for version in reversed(known) if known[version].status == "published"]
        return [*(version for version in newest if version != BASELINE), BASELINE]

    def there_are(self) -> str:
        """Say which versions there are."""
        return f"there are {', '.join({BASELINE: None, **self.versions()})}"

    def history(self) -> list[dict[str, str]]:
        """Return how `latest` has moved, oldest first; nothing when `latest.json` is damaged."""
        moves = self._known().get("history")
        return moves if isinstance(moves, list) else []

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Hold the folder for writing; what a killed writer has left there long ago goes first.

        Raises:
            VersionError: the folder cannot be written to.
        """
        try:
            make_private(self.folder)
            with open(os.open(self.folder / ".lock", os.O_RDWR | os.O_CREAT, 0o600), "wb") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX)
                self._sweep()
                yield
        except OSError as error:
            raise VersionError(f"{self.folder}: cannot be written to: {_line(error)}") from error

    def put(self, text: str, metadata: VersionMetadata) -> Path:
        """Write a version; call it inside `writing`."""
        version = metadata.version
        day = "baseline" if version == BASELINE else f"{datetime.now(UTC):%Y%m%d}"
        path = self.folder / f"{version}_{day}.json"
        path.unlink(missing_ok=True)
        _write(_beside(path), sealed(metadata.plain()))
        _write(path, text)
        return path

    def mark(self, version: str, status: Status) -> None:
        """Give a version another status; call it inside `writing`."""
        saved = self.read(version)
        if saved.metadata.status != status:
            _write(_beside(saved.path), sealed(saved.metadata.model_copy(update={"status": status}).plain()))

    def point(self, version: str, why: str) -> None:
        """Make a version the latest; call it inside `writing`."""
        move = {"version": version, "at": now(), "why": why}
        self._write_pointer({**self._known(), "version": version, "history": [*self.history(), move][-MOVES:]})

    def retire(self, version: str) -> None:
        """Erase a version, and keep its number from being given again; call it inside `writing`."""
        self._write_pointer({"version": self.latest(), **self._known(), "retired": [*self.retired(), version]})
        self.erase(version)

    def retired(self) -> list[str]:
        """Return the versions that were retired."""
        retired = self._known().get("retired")
        return [one for one in retired if re.fullmatch(_VERSION, str(one))] if isinstance(retired, list) else []

    def _known(self) -> dict[str, Any]:
        """Return what `latest.json` says; nothing when it is damaged."""
        with suppress(*_DAMAGE):
            return unsealed(self._pointer.read_bytes())
        return {}

    def _write_pointer(self, known: Mapping[str, Any]) -> None:
        _write(self._pointer, sealed(known))

    def prune(self, keep: Collection[str]) -> None:
        """Erase all but the last versions, the baseline, the latest and those to keep; call it inside `writing`."""
        files = self.files()
        kept = {BASELINE, self.latest(), *keep, *[version for version in files if version != BASELINE][-KEPT:]}
        for version in files.keys() - kept:
            self.erase(version)

    def erase(self, version: str) -> None:
        """Erase a version; call it inside `writing`."""
        if path := self.files().get(version):
            path.unlink(missing_ok=True)
            _beside(path).unlink(missing_ok=True)

    def _read(self, version: str, path: Path) -> Saved:
        metadata = VersionMetadata.model_validate(unsealed(_beside(path).read_bytes()))
        text = path.read_bytes()
        if metadata.checksum != digest(text):
            raise ValueError("the program's checksum does not match")
        if (metadata.profile, metadata.module, metadata.version) != (self.profile, self.module, version):
            raise ValueError(f"it is {metadata.version} of {metadata.module} for the profile {metadata.profile}")
        return Saved(path, json.loads(text), metadata)

    def _read_latest(self) -> str:
        try:
            version = unsealed(self._pointer.read_bytes())["version"]
            if re.fullmatch(_VERSION, version):
                return str(version)
            problem = f"{version[:60]!r} is no version"
        except FileNotFoundError:
            problem = "is missing"
        except _DAMAGE as error:
            problem = f"is damaged ({_line(error)})"
        stand_in = self.published()[0]
        if problem != "is missing" or stand_in != BASELINE:
            log.warning("%s: %s; the newest published version, %s, is used", self._pointer, problem, stand_in)
        return stand_in

    def _sweep(self) -> None:
        """Remove temporary files, and metadata whose program was never written, once they are a day old."""
        programs = {_beside(path).name for path in self.files().values()}
        for path in self.folder.iterdir():
            is_orphan = path.name.endswith("_metadata.json") and path.name not in programs
            if (is_orphan or path.suffix == ".tmp") and path.stat().st_mtime < time.time() - DAY:
                path.unlink(missing_ok=True)


def parts(version: str) -> tuple[int, int]:
    """Return the two numbers of a version.

    Raises:
        VersionError: it is no version.
    """
    if not re.fullmatch(_VERSION, version):
        raise VersionError(f"version {version[:60]!r}: must be of the form v1.0")
    major, minor = version[1:].split(".")
    return int(major), int(minor)


def now() -> str:
    """Return the time, in ISO 8601."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def _beside(path: Path) -> Path:
    """Return where a program's metadata are."""
    return path.with_name(f"{path.stem}_metadata.json")


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:300]


def _stamp(*paths: Path) -> tuple[Any, ...]:
    """Return what the file system says of files; None for one that is not there."""
    return tuple(_look(path) for path in paths)


def _look(path: Path) -> tuple[int, ...] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_ctime_ns, found.st_ino, found.st_size


def _write(path: Path, text: str) -> None:
    """Write a file as a whole or not at all, for its owner's eyes only."""
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=".", suffix=".tmp")
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.replace(name, path)
    except BaseException:
        with suppress(OSError):
            os.unlink(name)
        raise
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
