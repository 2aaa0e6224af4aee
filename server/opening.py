"""What a route works with: this process's brain and its gym, or a problem that says which setting is in the way."""

from understudy.checkpoints.gym import Gym
from understudy.nodes.brain import Brain, gym_of, own_brain
from understudy.profile import ProfileError
from understudy.server.problems import Problem


def usable() -> Brain:
    """Return the brain of this process.

    Raises:
        Problem: BRAIN_PROFILE cannot be used.
        SettingsError: a setting is wrong.
    """
    brain = own_brain()
    try:
        brain.profile(None)
    except ProfileError as error:
        raise Problem(503, str(error)) from None
    return brain


def opened() -> tuple[Brain, Gym]:
    """Return the brain of this process and its gym.

    Raises:
        NoGym: RL_GYM_ENABLED is false.
        Problem: BRAIN_PROFILE cannot be used.
        GymError: the gym cannot be used.
    """
    brain = usable()
    return brain, gym_of(brain)


def watching() -> tuple[Brain, Gym]:
    """Return what `opened` does, if conversations are observed at all.

    Raises:
        NoGym: RL_GYM_ENABLED is false.
        Problem: as `opened` does, or BRAIN_ENABLED is false.
        GymError: the gym cannot be used.
    """
    brain, gym = opened()
    if not brain.settings.brain_enabled:
        raise Problem(503, "BRAIN_ENABLED=false: nothing is observed; set it to true")
    return brain, gym
