"""What the nodes of one process work with: settings, gym, model, programs; each is opened once."""

from contextlib import suppress
from dataclasses import dataclass
from functools import cache, cached_property
from threading import Lock
from typing import TYPE_CHECKING, Any

import dspy

from understudy.checkpoints.gym import Gym
from understudy.checkpoints.versioning import BASELINE, LATEST, ModuleVersioning, VersionError
from understudy.intake import UnderstudyError
from understudy.lm.roles import at_once, get_student_lm
from understudy.profile import Profile, load_profile, registered_profile
from understudy.settings import Settings, current_settings
from understudy.state import Context

if TYPE_CHECKING:
    from understudy.nodes.faculty import Faculty

MOST_PROGRAMS = 500
"""Programs that are kept in memory."""


class NoGym(UnderstudyError):
    """The gym is needed, and it is switched off."""


class Brain:
    """The settings of a run and all that follows from them.

    Raises:
        SettingsError: a model that the settings name cannot be used.
    """

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.student = get_student_lm(settings)
        self._versioning: dict[str, ModuleVersioning] = {}
        self._programs: dict[tuple[str, str, str], tuple[Any, dspy.Module | VersionError]] = {}
        self._opening = Lock()

    @cached_property
    def _gym(self) -> Gym:
        return Gym(self.settings.rl_gym_db_path)

    @property
    def gym(self) -> Gym | None:
        """The gym, or None when RL_GYM_ENABLED is false.

        Raises:
            GymError: the file cannot be used.
        """
        if not self.settings.rl_gym_enabled:
            return None
        with self._opening:
            return self._gym

    @property
    def parallel(self) -> int:
        """How many turns are read at a time."""
        return at_once(self.settings)

    def profile(self, name: str | None) -> Profile:
        """Return the profile that a conversation names, else the one of BRAIN_PROFILE.

        Raises:
            ProfileError: there is none of that name.
        """
        own = self.settings.brain_profile
        return registered_profile(name, own) if name else load_profile(own)

    def versioning(self, profile: str) -> ModuleVersioning:
        """Return the saved programs of a profile."""
        if profile not in self._versioning:
            self._versioning[profile] = ModuleVersioning(self.settings.optimized_modules_dir, profile)
        return self._versioning[profile]

    def version(self, faculty: "Faculty", profile: str, context: Context) -> str:
        """Return the version of a module that a run starting now uses, and load it.

        The one that the run asks for, else the latest. When that cannot be loaded, the newest that can, with a warning.
        """
        chosen = context.versions.get(faculty.name) or LATEST
        if chosen == LATEST and not (context.use_optimized and self.settings.use_optimized_modules):
            chosen = BASELINE
        if chosen == LATEST:
            return self.versioning(profile).usable(faculty.name, lambda it: self.loaded(faculty, profile, it))[0]
        with suppress(VersionError):
            self.loaded(faculty, profile, chosen)
        return chosen

    def published(self, faculty: "Faculty", profile: str) -> str:
        """Return the version of a module that is the latest and loads, whatever the settings make of it."""
        return self.versioning(profile).usable(faculty.name, lambda known: self.loaded(faculty, profile, known))[0]

    def program(self, faculty: "Faculty", profile: str, version: str) -> dspy.Module:
        """Return a module in a version that has been loaded; a run that another process began loads it here.

        Raises:
            VersionError: it cannot be loaded.
        """
        if (known := self._programs.get((faculty.name, profile, version))) is None:
            return self.loaded(faculty, profile, version)
        if isinstance(known[1], VersionError):
            raise known[1].with_traceback(None)  # else it would grow by its traceback at every turn
        return known[1]

    def loaded(self, faculty: "Faculty", profile: str, version: str) -> dspy.Module:
        """Load a module once, and again when its file has changed since, as a damaged one that was repaired has.

        Raises:
            VersionError: it cannot be loaded.
        """
        versioning, key = self.versioning(profile), (faculty.name, profile, version)
        stamp = versioning.stamp(faculty.name, version)
        if (known := self._programs.get(key)) is None or known[0] != stamp:
            baseline = faculty.program(self.profile(profile))
            try:
                self._remember(key, (stamp, versioning.load_into(baseline, faculty.name, version)))
            except VersionError as error:
                self._remember(key, (stamp, error))
        return self.program(faculty, profile, version)

    def _remember(self, key: tuple[str, str, str], loaded: tuple[Any, dspy.Module | VersionError]) -> None:
        """Keep what has been loaded. The oldest goes: a run can ask for any number of versions that do not exist."""
        with self._opening:
            self._programs[key] = loaded
            if len(self._programs) > MOST_PROGRAMS:
                self._programs.pop(next(iter(self._programs)))


@dataclass(frozen=True)
class WithBrain(Context):
    """The context of a caller in this process that brings its own settings; it cannot be posted from outside."""

    brain: Brain | None = None
    upto: int | None = None
    """The log is handled up to this sequence number; None: all of it."""


def brain_of(context: Context | None) -> Brain:
    """Return the brain that a run works with: the caller's, else this process's own."""
    return (context.brain if isinstance(context, WithBrain) else None) or own_brain()


def end_of_log(context: Context | None) -> int | None:
    """Return the sequence number up to which a run handles the log, or None for all of it."""
    return context.upto if isinstance(context, WithBrain) else None


def gym_of(brain: Brain) -> Gym:
    """Return the gym.

    Raises:
        NoGym: it is switched off.
        GymError: it cannot be opened.
    """
    if brain.gym is None:
        raise NoGym("RL_GYM_ENABLED=false: there is no gym; set it to true")
    return brain.gym


@cache
def own_brain() -> Brain:
    """Return the brain of this process, with the settings of its environment."""
    return Brain(current_settings())
