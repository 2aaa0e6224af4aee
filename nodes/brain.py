"""What the nodes of one process work with: settings, gym, model, programs; each is opened once."""

import logging
from dataclasses import dataclass
from functools import cache, cached_property
from threading import Lock
from typing import TYPE_CHECKING

import dspy

from understudy.checkpoints.gym import Gym
from understudy.checkpoints.versioning import BASELINE, ModuleVersioning, VersionError
from understudy.lm.roles import get_student_lm
from understudy.profile import Profile, load_profile, registered_profile
from understudy.settings import Settings, current_settings
from understudy.state import Context

if TYPE_CHECKING:
    from understudy.nodes.faculty import Faculty


log = logging.getLogger("understudy")


class Brain:
    """The settings of a run and all that follows from them.

    Raises:
        SettingsError: a model that the settings name cannot be used.
    """

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.student = get_student_lm(settings)
        self.versioning = ModuleVersioning(settings.optimized_modules_dir)
        self._programs: dict[tuple[str, str, str], dspy.Module | VersionError] = {}
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
        """How many turns are read at a time; the embedded engine never waits, so more would only slow each other."""
        return self.settings.ollama_num_parallel if self.settings.lm_provider == "ollama" else 1

    def profile(self, name: str | None) -> Profile:
        """Return the profile that a conversation names, else the one of BRAIN_PROFILE.

        Raises:
            ProfileError: there is none of that name.
        """
        own = self.settings.brain_profile
        return registered_profile(name, own) if name else load_profile(own)

    def version(self, faculty: "Faculty", profile: str, context: Context) -> str:
        """Return the version of a module that a run starting now uses, and load it.

        The one that the run asks for, else the latest. When that cannot be loaded, the newest that can, with a warning.
        """
        if chosen := context.versions.get(faculty.name):
            self._load(faculty, profile, chosen)
            return chosen
        if not (context.use_optimized and self.settings.use_optimized_modules):
            self._load(faculty, profile, BASELINE)
            return BASELINE
        latest = self.versioning.latest(profile, faculty.name)
        if self._load(faculty, profile, latest):
            return latest
        older = reversed(self.versioning.list_versions(profile, faculty.name))
        version = next(version for version in older if version != latest and self._load(faculty, profile, version))
        log.warning("%s %s cannot be loaded (%s); %s is used", faculty.name, latest, profile, version)
        return version

    def program(self, faculty: "Faculty", profile: str, version: str) -> dspy.Module:
        """Return a module in a version that has been loaded.

        Raises:
            VersionError: it could not be.
        """
        program = self._programs[faculty.name, profile, version]
        if isinstance(program, VersionError):
            raise program
        return program

    def _load(self, faculty: "Faculty", profile: str, version: str) -> bool:
        """Load a module once, and say whether it can be used."""
        key = (faculty.name, profile, version)
        if key not in self._programs:
            baseline = faculty.program(self.profile(profile))
            try:
                self._programs[key] = self.versioning.load_into(baseline, profile, faculty.name, version)
            except VersionError as error:
                self._programs[key] = error
        return not isinstance(self._programs[key], VersionError)


@dataclass(frozen=True)
class WithBrain(Context):
    """The context of a caller in this process that brings its own settings; it cannot be posted from outside."""

    brain: Brain | None = None


def brain_of(context: Context | None) -> Brain:
    """Return the brain that a run works with: the caller's, else this process's own."""
    return (context.brain if isinstance(context, WithBrain) else None) or own_brain()


@cache
def own_brain() -> Brain:
    """Return the brain of this process, with the settings of its environment."""
    return Brain(current_settings())
