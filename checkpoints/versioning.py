"""Programs on disk: one JSON file a version, its metadata beside it, and `latest.json` that says which one is loaded.

optimized_modules/<profile>/<module>/v0.0_baseline.json
                                     v1.0_20261123.json
                                     v1.0_20261123_metadata.json
                                     latest.json

How the files stay whole is told in shelf.py, what stands in a program's file in program.py.
"""

import difflib
import json
import logging
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar

import dspy
from pydantic import ValidationError

from understudy.checkpoints.metadata import VersionMetadata, check_plain, digest, side_by_side
from understudy.checkpoints.program import build, dump, fill, instruction, lines, signature_hash
from understudy.checkpoints.shelf import BASELINE, NoVersion, Saved, Shelf, VersionError, now, parts
from understudy.intake import shape_error
from understudy.profile import load_profile
from understudy.settings import current_settings

__all__ = ["BASELINE", "LATEST", "ModuleVersioning", "NoVersion", "VersionError"]

LATEST = "latest"

Metadata = Mapping[str, Any] | VersionMetadata
T = TypeVar("T")
log = logging.getLogger("understudy")


class ModuleVersioning:
    """The saved programs of one profile. Wherever a version is asked for, `latest` will do too.

    v0.0 is the baseline that the code holds: the shadow always has it, and its file is a copy for others.

    Args:
        folder: where the profiles' folders are; OPTIMIZED_MODULES_DIR when left out.
        profile: a profile's name; the one of BRAIN_PROFILE when left out.
    """

    def __init__(self, folder: Path | str | None = None, profile: str | None = None) -> None:
        self.folder = Path(folder or current_settings().optimized_modules_dir)
        self.profile = profile or load_profile(current_settings().brain_profile).name
        self._shelves: dict[str, Shelf] = {}
        self._said: dict[str, str] = {}

    def save_module(
        self,
        module_name: str,
        module: dspy.Module,
        version: str,
        metadata: Metadata | None = None,
        *,
        keep: Collection[str] = (),
    ) -> Path:
        """Save a program under a new number, then prune; it becomes the latest unless its status says otherwise.

        Args:
            module_name: the module's name.
            module: the program.
            version: such as v1.0; or v0.0 for the baseline, which replaces the one before and moves nothing.
            metadata: keys of `VersionMetadata` and any others; with the status "candidate" or "rejected" the latest
                stays what it is.
            keep: versions that may not be pruned, as they are under test.

        Returns:
            The program's file.

        Raises:
            VersionError: the number is taken or is none; program or metadata are no JSON; the folder is read-only.
        """
        shelf = self._shelf(module_name)
        with shelf.writing():
            return self._save(shelf, module, version, metadata or {}, keep)

    def save_next(
        self, module_name: str, module: dspy.Module, metadata: Metadata | None = None, *, keep: Collection[str] = ()
    ) -> str:
        """Save a program as `save_module` does, under the number that is next, and return that."""
        shelf = self._shelf(module_name)
        with shelf.writing():
            version = self.next_version(module_name, signature_hash(module))
            self._save(shelf, module, version, metadata or {}, keep)
            return version

    def load_module(self, name: str, version: str = LATEST) -> tuple[dspy.Module, dict[str, Any]]:
        """Return a program, built from its file alone, and its metadata.

        When the latest does not load, the newest published version that does is used, and a warning says so.

        Raises:
            NoVersion: there is no such version.
            VersionError: its file is damaged, or its code is not DSPy's own.
        """
        if version == LATEST:
            return self.usable(name, lambda known: _build(self._read(name, known)))[1]
        return _build(self._read(name, version))

    def load_into(self, program: dspy.Module, name: str, version: str) -> dspy.Module:
        """Return the fresh baseline `program` with a version's instruction and examples; v0.0 is the program itself.

        Raises:
            NoVersion: there is no such version.
            VersionError: its file is damaged, or it was made for other fields or labels than `program` has.
        """
        version = self._number(name, version)
        if version == BASELINE:
            return program
        saved, fields = self._shelf(name).read(version), signature_hash(program)
        if saved.metadata.signature_hash == fields:
            with _readable(saved):
                fill(program, saved.state)
        if not saved.metadata.signature_hash == fields == signature_hash(program):
            raise VersionError(f"{saved.path}: was made for other fields or labels than {name!r} has now")
        return program

    def usable(self, name: str, load: Callable[[str], T]) -> tuple[str, T]:
        """Return the latest version and what `load` makes of it; else the newest published one that loads.

        A warning says so, once for each reason.

        Args:
            name: the module's name.
            load: takes a version; raises VersionError when it cannot be loaded.

        Raises:
            VersionError: none can be loaded.
        """
        latest = self.latest(name)
        try:
            loaded = load(latest)
        except VersionError as error:
            if self.latest(name) != latest:  # others have saved so much meanwhile that its file is gone
                return self.usable(name, load)
            for version in self._shelf(name).published() if latest != BASELINE else ():
                with suppress(VersionError):
                    stand_in = load(version)
                    self._warn(name, f"{name} {latest} cannot be loaded: {error}; {version} is used")
                    return version, stand_in
            raise
        self._said.pop(name, None)
        return latest, loaded

    def latest(self, name: str) -> str:
        """Return the version that is loaded; cheap enough to be asked at every turn."""
        return self._shelf(name).latest()

    def stamp(self, name: str, version: str) -> Any:
        """Return a value that is another one once the version's files have changed; the baseline's never do."""
        return None if version == BASELINE else self._shelf(name).stamp(version)

    def list_versions(self, name: str) -> list[str]:
        """Return the versions there are, oldest first; the baseline is one of them."""
        return list({BASELINE: None, **self._shelf(name).versions()})

    def metadata(self, name: str, version: str) -> dict[str, Any]:
        """Return what is known of a version as JSON values; nothing of one that has no file or a damaged one."""
        found = self._shelf(name).versions().get(version)
        return found.plain() if found is not None else {}

    def history(self, name: str) -> list[dict[str, str]]:
        """Return how `latest` has moved, oldest first: version, at (ISO 8601), why."""
        return self._shelf(name).history()

    def next_version(self, name: str, signature_hash: str) -> str:
        """Return the number for a program with such fields: the next minor one of the same, else the next major one."""
        shelf = self._shelf(name)
        numbers = sorted({*shelf.files(), *shelf.retired()} - {BASELINE}, key=parts)
        if not numbers:
            return "v1.0"
        major, minor = parts(numbers[-1])
        newest = next(reversed([v for name, v in shelf.versions().items() if name != BASELINE]), None)
        is_same = newest is not None and newest.signature_hash == signature_hash
        return f"v{major}.{minor + 1}" if is_same else f"v{major + 1}.0"

    def publish(self, name: str, version: str, why: str = "published") -> None:
        """Make a saved version the latest.

        Raises:
            VersionError: it does not exist or is damaged.
        """
        with self._shelf(name).writing():
            self._move(name, self._number(name, version), why)

    def reject(self, name: str, version: str) -> None:
        """Note that a candidate has not proved itself.

        Raises:
            VersionError: it does not exist or is damaged, or it is the latest, which must be rolled back first.
        """
        version = self._number(name, version)
        with self._shelf(name).writing():
            if version == self.latest(name):
                raise VersionError(f"{version} of {name!r} is the latest; roll back to another version first")
            self._shelf(name).mark(version, "rejected")

    def rollback(self, name: str, version: str, why: str = "rolled back") -> None:
        """Make another version the latest again; the one that was does not stand in for a damaged one any more.

        Raises:
            VersionError: it does not exist or is damaged.
        """
        with self._shelf(name).writing():
            left, version = self.latest(name), self._number(name, version)
            self._move(name, version, why)
            if left not in (version, BASELINE):
                with suppress(VersionError):
                    self._shelf(name).mark(left, "rolled_back")

    def retire(self, name: str, version: str) -> None:
        """Erase a version; if it is the latest, the newest other published one that is whole comes into use first.

        Raises:
            NoVersion: there is no such version.
            VersionError: it is the baseline, or the folder cannot be written to.
        """
        version, shelf = self._number(name, version), self._shelf(name)
        if version == BASELINE:
            raise VersionError(f"{BASELINE} of {name!r} is in the code and cannot be retired")
        with shelf.writing():
            if version not in shelf.files():
                raise NoVersion(f"no version {version[:60]} of {name!r}; {shelf.there_are()}")
            if version == self.latest(name):
                shelf.point(next(one for one in shelf.published() if one != version), f"{version} was retired")
            shelf.retire(version)

    def compare_versions(self, name: str, a: str, b: str) -> dict[str, Any]:
        """Return what two versions have in common and what not, as JSON values.

        Keys: module, profile, a and b (their metadata), metrics {name: {a, b, difference}}, same_fields,
        instruction_diff (unified). Scores by different versions of a metric have no difference.

        Raises:
            VersionError: one of them does not exist or is damaged.
        """
        one, two = self._read(name, a), self._read(name, b)
        before, after = (instruction(saved.state).splitlines() for saved in (one, two))
        names = one.metadata.version, two.metadata.version
        return {
            "module": name,
            "profile": self.profile,
            "a": one.metadata.plain(),
            "b": two.metadata.plain(),
            "metrics": side_by_side(one.metadata, two.metadata),
            "same_fields": one.metadata.signature_hash == two.metadata.signature_hash,
            "instruction_diff": "\n".join(difflib.unified_diff(before, after, *names, lineterm="")),
        }

    def shown(self, name: str, version: str = LATEST) -> dict[str, str]:
        """Return what there is to see of a version: version, file, instruction, and the python that loads it.

        Raises:
            VersionError: it does not exist or is damaged.
        """
        saved = self._read(name, version)
        return {
            "version": saved.metadata.version,
            "file": str(saved.path),
            "instruction": instruction(saved.state),
            "python": "\n".join(lines(saved.state, saved.path.absolute())),
        }

    def _save(self, shelf: Shelf, module: dspy.Module, version: str, metadata: Metadata, keep: Collection[str]) -> Path:
        parts(version)
        if version != BASELINE and version in shelf.files():
            raise VersionError(f"version {version} of {shelf.module!r} is there already; {shelf.there_are()}")
        try:
            text = dump(module)
            complete = _complete(shelf, module, version, metadata, text)
        except ValidationError as error:
            raise VersionError(f"metadata of {shelf.module} {version}: {shape_error(error)}") from None
        except (ValueError, TypeError, AttributeError) as error:
            raise VersionError(f"{shelf.module} {version} cannot be saved: {error}") from error
        path = shelf.put(text, complete)
        if version != BASELINE and complete.status == "published":
            shelf.point(version, "saved")
        shelf.prune({version, *keep})
        return path

    def _move(self, name: str, version: str, why: str) -> None:
        if version != BASELINE:
            self._shelf(name).mark(version, "published")
        self._shelf(name).point(version, why)

    def _read(self, name: str, version: str) -> Saved:
        version, shelf = self._number(name, version), self._shelf(name)
        if version == BASELINE and version not in shelf.files():
            raise NoVersion(
                f"v0.0 of {name!r} is the baseline in the code and has no file yet; {shelf.there_are()};"
                f" understudy.load_module({name!r}, use_optimized=False) returns it"
            )
        return shelf.read(version)

    def _number(self, name: str, version: str) -> str:
        if version == LATEST:
            return self.latest(name)
        parts(version)
        return version

    def _shelf(self, name: str) -> Shelf:
        if name not in self._shelves:
            self._shelves[name] = Shelf(self.folder, self.profile, name)
        return self._shelves[name]

    def _warn(self, name: str, message: str) -> None:
        if self._said.get(name) != message:
            self._said[name] = message
            log.warning(message)


def _complete(shelf: Shelf, module: dspy.Module, version: str, metadata: Metadata, text: str) -> VersionMetadata:
    """Return what the caller has given with what saving knows itself."""
    given = metadata.plain() if isinstance(metadata, VersionMetadata) else dict(metadata)
    check_plain(given, "metadata")
    known = {
        "version": version,
        "module": shelf.module,
        "profile": shelf.profile,
        "created_at": now(),
        "signature_hash": signature_hash(module),
        "instruction_hash": digest(instruction(json.loads(text))),
        "checksum": digest(text),
    }
    return VersionMetadata.model_validate({"status": "published", **given, **known})


def _build(saved: Saved) -> tuple[dspy.Module, dict[str, Any]]:
    with _readable(saved):
        return build(saved.state), saved.metadata.plain()


@contextmanager
def _readable(saved: Saved) -> Iterator[None]:
    """Say of a whole file whose content DSPy does not take which file it is."""
    try:
        yield
    except (ValueError, TypeError, AttributeError, LookupError, SyntaxError, ImportError) as error:
        raise VersionError(f"{saved.path}: DSPy cannot load it: {error}") from error
