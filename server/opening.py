"""What a route works with: this process's brain and its gym, or a problem that says which setting is off."""

from understudy.checkpoints.gym import Gym
from understudy.nodes.brain import Brain, own_brain
from understudy.server.problems import Problem


def opened() -> tuple[Brain, Gym]:
    """Return the brain of this process and its gym.

    Raises:
        Problem: RL_GYM_ENABLED is false.
        GymError: the gym cannot be used.
    """
    brain = own_brain()
    if (gym := brain.gym) is None:
        raise Problem(503, "RL_GYM_ENABLED=false: there is no gym; set it to true")
    return brain, gym


def watching() -> tuple[Brain, Gym]:
    """Return what `opened` does, if conversations are observed at all.

    Raises:
        Problem: BRAIN_ENABLED or RL_GYM_ENABLED is false.
        GymError: the gym cannot be used.
    """
    brain, gym = opened()
    if not brain.settings.brain_enabled:
        raise Problem(503, "BRAIN_ENABLED=false: nothing is observed; set it to true")
    return brain, gym
