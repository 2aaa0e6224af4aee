"""The registry: which modules there are. A sixth one is a new file and a line here."""

import dspy

from understudy.intake import UnderstudyError
from understudy.nodes.brain import brain_of
from understudy.nodes.conflict import CONFLICT, read_conflict
from understudy.nodes.faculty import Faculty
from understudy.nodes.goals import GOALS, decompose_goals
from understudy.nodes.intent import INTENT, predict_intent
from understudy.nodes.personalize import PERSONALIZE
from understudy.nodes.quality import QUALITY, evaluate_quality
from understudy.nodes.response import RESPONSE, propose_response
from understudy.state import Context

READERS = {CONFLICT: read_conflict, INTENT: predict_intent, QUALITY: evaluate_quality, GOALS: decompose_goals}
"""They read the turn side by side."""

PROPOSER = (RESPONSE, propose_response)
"""It comes after them and sees what they said."""

MODULES: dict[str, Faculty] = {faculty.name: faculty for faculty in (*READERS, RESPONSE)}
"""They say something of every turn."""

PROGRAMS: dict[str, Faculty] = {**MODULES, PERSONALIZE.name: PERSONALIZE}
"""All that has versions, can be optimised and tested."""


def load_module(name: str, use_optimized: bool = True) -> dspy.Module:
    """Return one module for the profile of BRAIN_PROFILE: the latest version, or the baseline v0.0.

    Call it inside `dspy.context(lm=get_student_lm(), adapter=AnswerAdapter())`, or with a model of your own.

    Raises:
        UnderstudyError: there is no such module.
    """
    if name not in PROGRAMS:
        raise UnderstudyError(f"no module {name!r}; there are {', '.join(PROGRAMS)}")
    brain, faculty = brain_of(None), PROGRAMS[name]
    profile = brain.profile(None).name
    version = brain.version(faculty, profile, Context(use_optimized=use_optimized))
    return brain.program(faculty, profile, version)


def load_all_modules(use_optimized: bool = True) -> dict[str, dspy.Module]:
    """Return the modules that read a turn by name, as `load_module` does."""
    return {name: load_module(name, use_optimized) for name in MODULES}
