"""Programs on disk: one JSON file a version, its metadata beside it, and `latest.json` that says which one is loaded.

optimized_modules/<profile>/<module>/v1.0_20261123.json
                                     v1.0_20261123_metadata.json
                                     latest.json
"""

import hashlib
import json
import logging
import os
import re
import tempfile
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import dspy

from understudy.intake import UnderstudyError

BASELINE = "v0.0"

log = logging.getLogger("understudy")


class VersionError(UnderstudyError):
    """A version cannot be loaded or saved; the message says which there are."""


class ModuleVersioning:
    """The saved programs under one folder.

    v0.0 is the baseline that the code holds and is always there; everything else is a file.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._seen: dict[tuple[str, str], tuple[int, str]] = {}

    def save_module(self, profile: str, name: str, module: dspy.Module, version: str, metadata: dict[str, Any]) -> Path:
        """Save a program under a version number and make it the latest; nothing half-written is ever visible.

        Raises:
            VersionError: the number is taken or is not of the form v1.0.
        """
        if not re.fullmatch(r"v[1-9]\d{0,3}\.\d{1,4}", version):
            raise VersionError(f"version {version!r}: must be of the form v1.0, and v0.0 is the baseline in the code")
        if self._file(profile, name, version):
            raise VersionError(f"version {version} of {name!r} ({profile}) is there already")
        state = json.dumps(module.dump_state(), ensure_ascii=False, indent=1)
        stem = f"{version}_{datetime.now(UTC):%Y%m%d}"
        folder = self._folder(profile, name)
        kept = {**metadata, "version": version, "checksum": _checksum(state)}
        _write(folder / f"{stem}_metadata.json", json.dumps(kept, ensure_ascii=False, indent=1))
        _write(folder / f"{stem}.json", state)
        _write(folder / "latest.json", json.dumps({"version": version}))
        return folder / f"{stem}.json"

    def list_versions(self, profile: str, name: str) -> list[str]:
        """Return the versions there are, oldest first; the baseline is one of them."""
        return [BASELINE, *sorted(self._files(profile, name), key=_number)]

    def latest(self, profile: str, name: str) -> str:
        """Return the version that `latest.json` names; when it is damaged, the newest there is, with a warning."""
        path = self._folder(profile, name) / "latest.json"
        try:
            stamp = path.stat().st_mtime_ns
        except OSError:
            return BASELINE
        if (seen := self._seen.get((profile, name))) is None or seen[0] != stamp:
            seen = self._seen[profile, name] = (stamp, self._read_latest(path, profile, name))
        return seen[1]

    def load_into(self, program: dspy.Module, profile: str, name: str, version: str) -> dspy.Module:
        """Return the fresh baseline `program` with a version's instruction and examples.

        Raises:
            VersionError: no such version; or the file is damaged, or for other labels or fields than `program` has.
        """
        if version == BASELINE:
            return program
        path = self._file(profile, name, version)
        if path is None:
            known = ", ".join(self.list_versions(profile, name))
            raise VersionError(f"no version {version!r} of {name!r} ({profile}); there are {known}")
        fields = [_fields(predictor) for predictor in program.predictors()]
        try:
            text = path.read_text(encoding="utf-8")
            metadata = json.loads(path.with_name(f"{path.stem}_metadata.json").read_text(encoding="utf-8"))
            if metadata.get("checksum") != _checksum(text):
                raise ValueError("checksum does not match")
            program.load_state(json.loads(text))
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise VersionError(f"{path}: damaged ({error}); roll back to another version") from error
        if fields != [_fields(predictor) for predictor in program.predictors()]:
            raise VersionError(f"{path}: was made for other fields than {name!r} has now")
        return program

    def _read_latest(self, path: Path, profile: str, name: str) -> str:
        known = self.list_versions(profile, name)
        try:
            version = json.loads(path.read_text(encoding="utf-8"))["version"]
        except (OSError, ValueError, KeyError, TypeError):
            version = None
        if version not in known:
            log.warning("%s: names no version of %s; the newest, %s, is used", path, name, known[-1])
            return known[-1]
        return str(version)

    def _files(self, profile: str, name: str) -> dict[str, Path]:
        paths = self._folder(profile, name).glob("v*_*.json")
        return {path.name.split("_")[0]: path for path in paths if not path.stem.endswith("_metadata")}

    def _file(self, profile: str, name: str, version: str) -> Path | None:
        return self._files(profile, name).get(version)

    def _folder(self, profile: str, name: str) -> Path:
        for part in (profile, name):
            if not re.fullmatch(r"[a-z0-9_]{1,40}", part):
                raise VersionError(f"{part!r}: no name of a profile or module")
        return self.folder / profile / name


def _fields(predictor: Any) -> list[tuple[str, str]]:
    """Return a signature's output fields with their labels: what an answer must fit."""
    return [(name, str(field.annotation)) for name, field in predictor.signature.output_fields.items()]


def _number(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version[1:].split(".") if part.isdigit())


def _checksum(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=".", suffix=".tmp")
    with os.fdopen(handle, "w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    os.replace(name, path)
