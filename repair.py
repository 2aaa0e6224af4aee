"""What `understudy doctor` looks at and can mend: the gym's file and rows, the saved programs, A/B tests, modes.

Each check returns what is well, and raises an error that says what is not. With a list of what was `mended` it first
mends what it can, and adds a line for each thing it did.
"""

import os
import stat
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

from understudy.backup import REPORTS, RUN_MARKS, damaged, profiles, shelves
from understudy.checkpoints.file import is_current
from understudy.checkpoints.gym import Gym
from understudy.checkpoints.metadata import unsealed
from understudy.checkpoints.salvage import salvage
from understudy.checkpoints.shelf import BASELINE, Shelf, VersionError
from understudy.checkpoints.soundness import flaws, orphans, rebuild_indexes
from understudy.checkpoints.trials import Ending, Trial
from understudy.intake import UnderstudyError
from understudy.nodes.ab_life import end
from understudy.nodes.brain import Brain
from understudy.nodes.modules import PROGRAMS
from understudy.profile import ProfileError, registered_profile
from understudy.settings import Settings

Mended = list[str] | None

REPAIR = "understudy doctor --repair"


def gym_is_sound(settings: Settings, mended: Mended) -> str:
    """See whether SQLite finds the file whole; build indexes anew, or salvage what can be read into another file."""
    path = settings.rl_gym_db_path
    if not settings.rl_gym_enabled:
        return "switched off (RL_GYM_ENABLED=false)"
    if not path.exists():
        return f"{path} is not there yet; the first observation makes it"
    found = flaws(path, thorough=mended is not None)
    if found != "ok" and mended is not None and rebuild_indexes(path):
        mended.append(f"the indexes of {path} were damaged ({found}); they are built anew")
        found = "ok"
    if found != "ok":
        how = f"restore a backup, or save what can be read of it: {REPAIR}"
        if mended is not None:
            how = _salvaged(path, mended)
        raise UnderstudyError(f"{path} is damaged: {found}; {how}")
    if mended is None and not is_current(path):
        what = "was made by an older understudy" if path.stat().st_size else "is an empty file"
        return f"{path} is sound, but {what}; the next use makes it a gym of this one"
    Gym(path).close()
    return f"{path} is sound"


def _salvaged(path: Path, mended: list[str]) -> str:
    into = path.with_name(f"{path.name}.salvaged")
    found = salvage(path, into)
    counts = [f"{saved} rows of {table} (missed {_or_some(missed)})" for table, (saved, missed) in found.items()]
    mended.append(f"what can be read of {path} is saved in {into}: {', '.join(counts) or 'nothing'}")
    return (
        f"it stays as it is. To use what is saved set RL_GYM_DB_PATH={into}, or stop everything, move {path},"
        f" {path.name}-wal and {path.name}-shm away and rename it; then run {REPAIR} again"
    )


def _or_some(missed: int | None) -> str:
    return "an unknown number" if missed is None else str(missed)


def rows_belong(settings: Settings, mended: Mended) -> str:
    """See whether every row of the gym belongs to something; erase those that do not."""
    with closing(Gym(settings.rl_gym_db_path)) as gym:
        found = orphans(gym, erase=mended is not None)
    said = ", ".join(f"{what}: {count}" for what, count in found.items())
    if said and mended is None:
        raise UnderstudyError(f"rows that belong to nothing ({said}); erase them: {REPAIR}")
    if said and mended is not None:
        mended.append(f"rows that belonged to nothing are erased ({said})")
    return "every row belongs to something"


def programs_load(settings: Settings, mended: Mended) -> str:
    """See whether each `latest.json` names a version that is whole; point it to the newest published one that is.

    A damaged file stays where it is: nothing loads it, and its number is not given again.
    """
    root, wrong, harmless, count = settings.optimized_modules_dir, [], [], 0
    for shelf in shelves(root):
        broken = damaged(shelf)
        count += len(shelf.files()) - len(broken)
        harmless += [f"{text}: nothing uses it; put it back from a backup" for text in broken.values()]
        if problem := _dangles(shelf):
            wrong.append(f"{shelf.folder / 'latest.json'}: {problem}")
            if mended is not None:
                mended.append(f"{wrong.pop()}; {_point(shelf, settings, problem)} is the latest now")
    if wrong:
        raise UnderstudyError(f"{'; '.join(wrong)}; use the newest published one instead: {REPAIR}")
    return "; ".join([f"{count} saved in {root}" if count else f"none saved in {root} yet", *harmless])


def _dangles(shelf: Shelf) -> str | None:
    """Say what is wrong with what is loaded, if anything is."""
    try:
        version = unsealed((shelf.folder / "latest.json").read_bytes())["version"]
        if version != BASELINE:
            shelf.read(str(version))
    except FileNotFoundError:
        return "is missing" if shelf.published()[0] != BASELINE else None
    except VersionError as error:
        return str(error).partition("; there are")[0]
    except (OSError, ValueError, LookupError, TypeError) as error:
        return f"is damaged ({error})"
    return None


def _point(shelf: Shelf, settings: Settings, why: str) -> str:
    """Make the newest published version that loads the latest, and return it."""
    loads = _loader(shelf, settings)
    version = next(version for version in shelf.published() if version == BASELINE or loads(version))
    pointer = shelf.folder / "latest.json"
    with shelf.writing():
        if why.startswith("is damaged"):
            pointer.rename(f"{pointer}.damaged")
        shelf.point(version, f"repaired: {why}"[:300])
    return version


def _loader(shelf: Shelf, settings: Settings) -> Callable[[str], bool]:
    """Return what says whether a version loads; of a profile that is not known here, whether it is whole."""
    brain = Brain(settings)

    def loads(version: str) -> bool:
        try:
            registered_profile(shelf.profile, settings.brain_profile)
            brain.loaded(PROGRAMS[shelf.module], shelf.profile, version)
        except (ProfileError, LookupError):
            return True
        except VersionError:
            return False
        return True

    return loads


def tests_can_go_on(settings: Settings, mended: Mended) -> str:
    """See whether the versions of every running A/B test load; end a test that has one that does not."""
    brain = Brain(settings)
    gym = brain.gym
    if gym is None:
        raise AssertionError("looked at with a gym only")
    with closing(gym):
        running = [trial for trial in gym.trials.all() if trial.ended_at is None and trial.module]
        stuck = [(trial, why) for trial in running if (why := _stuck(brain, trial))]
        said = [f"A/B test {trial.name}: {why}" for trial, why in stuck]
        if said and mended is None:
            raise UnderstudyError(f"{'; '.join(said)}; end it: {REPAIR}")
        for trial, why in stuck:
            followed = end(brain, trial, Ending(None, f"a version does not load: {why}"))
            if mended is not None:
                mended.append(f"A/B test {trial.name} is ended, as a version does not load ({why}); {followed}")
    return f"{len(running) - len(stuck)} running"


def _stuck(brain: Brain, trial: Trial) -> str | None:
    """Say why a test cannot go on; one of a profile that is not known here is left alone."""
    try:
        for version in (trial.variant_a, trial.variant_b):
            brain.loaded(PROGRAMS[str(trial.module)], trial.profile, version)
    except VersionError as error:
        return str(error).partition("; there are")[0]
    except (ProfileError, LookupError):
        return None
    return None


def others_cannot_read(settings: Settings, mended: Mended) -> str:
    """See whether the gym and the programs can be read by their owner alone; take the others' rights away."""
    wrong = []
    for path in _ours(settings):
        try:
            mode = stat.S_IMODE(path.stat().st_mode)
            if mode & 0o077 and mended is not None:
                path.chmod(mode & 0o700)
                mended.append(f"{path}: mode {mode:o} is now {mode & 0o700:o}")
            elif mode & 0o077:
                wrong.append(f"{path} (mode {mode:o})")
        except FileNotFoundError:
            continue  # it has gone meanwhile
        except OSError as error:
            wrong.append(f"{path} ({error.strerror})")
    if wrong:
        more = f" and {len(wrong) - 5} more" if len(wrong) > 5 else ""
        raise UnderstudyError(f"others can read {', '.join(wrong[:5])}{more}; take their rights away: {REPAIR}")
    return "only their owner can read gym and programs"


def _ours(settings: Settings) -> Iterator[Path]:
    """Yield the files and folders that hold customers' words, or what was learnt from them."""
    gym = settings.rl_gym_db_path
    yield from (path for end in ("", "-wal", "-shm", "-job") if (path := Path(f"{gym}{end}")).is_file())
    root = settings.optimized_modules_dir
    mine: set[Path] = set()
    for profile in profiles(root):
        if not profile.is_symlink():
            mine.update(_of_profile(profile))
            mine.update([profile] if mine.issuperset(profile.iterdir()) else [])
    # A folder to work in, or with anything else in it, is the user's own.
    if mine and root.resolve() not in (Path.cwd(), *Path.cwd().parents) and mine.issuperset(root.iterdir()):
        yield root
    yield from sorted(mine)


def _of_profile(profile: Path) -> Iterator[Path]:
    """Yield what is ours in a profile's folder; links, and what they lead to, are left alone."""
    shelved = [shelf.folder for shelf in shelves(profile.parent) if shelf.folder.parent == profile]
    for folder in (*shelved, profile / REPORTS):
        if folder.is_dir() and not folder.is_symlink():
            yield folder
            yield from (path for path in folder.iterdir() if path.is_file() and not path.is_symlink())
    for top in (path for name in RUN_MARKS if not (path := profile / name).is_symlink() and path.exists()):
        yield top
        for place, folders, files in os.walk(top):
            yield from (path for name in (*folders, *files) if not (path := Path(place, name)).is_symlink())
