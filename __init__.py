"""understudy watches a customer chat from the side and learns from it; nothing it says is ever sent.

The public names are loaded when they are first used, so that importing the package costs a host almost nothing.
"""

import logging
from importlib import import_module
from typing import Any

from understudy.showing import one_line

logging.getLogger("understudy").addFilter(one_line)

_HOMES = {
    "understudy.intake": ["InputError", "UnderstudyError"],
    "understudy.events": ["BrainDecision"],
    "understudy.state": ["Context"],
    "understudy.embed": ["Understudy"],
    "understudy.agents": ["observe_node"],
    "understudy.losing": ["NotObserved"],
    "understudy.settings": ["Settings", "SettingsError"],
    "understudy.profile": ["Profile", "ProfileError", "load_profile"],
    "understudy.checkpoints.file": ["GymError"],
    "understudy.checkpoints.gym": ["Gym"],
    "understudy.checkpoints.saver": ["open_checkpointer"],
    "understudy.checkpoints.trials": ["TrialRuns"],
    "understudy.checkpoints.versioning": ["ModuleVersioning", "NoVersion", "VersionError"],
    "understudy.lm.errors": ["AnswerError", "ModelError"],
    "understudy.lm.roles": ["get_dreamer_lm", "get_student_lm", "get_teacher_context", "get_teacher_lm"],
    "understudy.nodes.modules": ["load_all_modules", "load_module"],
    "understudy.nodes.conflict": ["conflict_metric"],
    "understudy.nodes.intent": ["intent_metric"],
    "understudy.nodes.quality": ["quality_metric"],
    "understudy.nodes.goals": ["goals_metric"],
    "understudy.nodes.response": ["response_metric"],
    "understudy.nodes.betting": ["PairedBettingTest"],
    "understudy.nodes.ab_life": ["NoTest"],
    "understudy.nodes.ab_tester": ["ABTestResult", "ShadowABTester"],
    "understudy.nodes.personalize": ["MessagePersonalizer", "PersonalizationSuggestion", "personalize_metric"],
    "understudy.nodes.dataset": ["DatasetBuilder"],
    "understudy.graph.shadow": ["create_shadow_workflow"],
    "understudy.graph.dream": ["create_dream_workflow"],
    "understudy.graph.optimization": ["create_optimization_workflow"],
    "understudy.dreaming": ["run_dream_cycle"],
    "understudy.optimize": ["NoRun", "OptimizationBusy", "RunWaits", "run_gepa_optimization"],
    "understudy.observing": ["ReplayError"],
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}

__all__ = sorted(_HOME_OF)


def __getattr__(name: str) -> Any:
    if name not in _HOME_OF:
        raise AttributeError(f"module 'understudy' has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(_HOME_OF[name]), name)
    return value


def __dir__() -> list[str]:
    return [*globals(), *__all__]
