"""The whole story on the bundled conversations, in gyms of its own: observe, learn, observe again."""

import shutil
from collections import defaultdict
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

from understudy.nodes.brain import Brain
from understudy.nodes.job import builder_for
from understudy.nodes.modules import MODULES
from understudy.nodes.scoring import mean
from understudy.optimize import gym_of, optimize
from understudy.replay import replay
from understudy.settings import Settings

BUNDLED = Path(__file__).parent / "examples" / "conversations.jsonl"


async def run_demo(
    folder: Path,
    on_conversation: Callable[[int], None] = lambda turns: None,
    on_news: Callable[[dict[str, Any]], None] = lambda news: None,
) -> dict[str, Any]:
    """Observe the bundled conversations, learn from them, and observe them again, in fresh gyms in `folder`.

    Returns:
        What each stage found: `observe`, `modules` (agreement with the truth), `optimize` (the report of the run),
        `again`, and `sealed`: agreement on the conversations that nothing was learnt from, before and after.

    Raises:
        GymError: the folder cannot be written.
    """
    own = {"brain_profile": "default", "brain_enabled": True, "rl_gym_enabled": True, "use_optimized_modules": True}
    files = {"optimized_modules_dir": folder / "demo_modules"}
    shutil.rmtree(files["optimized_modules_dir"], ignore_errors=True)
    settings = Settings().model_copy(update={**own, **files, "publish_approval": "auto"})
    before = Brain(settings.model_copy(update={"rl_gym_db_path": _fresh(folder / "demo_gym.db")}))
    found: dict[str, Any] = {"observe": await _observe(before, on_conversation)}
    found["modules"] = agreement(before)
    found["optimize"] = await optimize(before, on_news=on_news)
    after = Brain(settings.model_copy(update={"rl_gym_db_path": _fresh(folder / "demo_gym_again.db")}))
    found["again"] = await _observe(after, on_conversation)
    sealed = sealed_conversations(before)
    stages = {"before": agreement(before, sealed), "after": agreement(after, sealed)}
    found["sealed"] = {name: {stage: told[name] for stage, told in stages.items()} for name in MODULES}
    for brain in (before, after):
        gym_of(brain).close()
    return found


async def _observe(brain: Brain, on_conversation: Callable[[int], None]) -> dict[str, Any]:
    report = await replay([BUNDLED], brain, on_conversation)
    return report.to_json(gym_of(brain))


def _fresh(path: Path) -> Path:
    for suffix in ("", "-wal", "-shm"):
        path.with_name(path.name + suffix).unlink(missing_ok=True)
    return path


def sealed_conversations(brain: Brain) -> set[str]:
    """Return the conversations that no module has learnt from."""
    builder = builder_for(brain, None)
    return {example.conversation_id for faculty in MODULES.values() for example in builder.build(faculty).sealed}


def agreement(brain: Brain, among: Collection[str] | None = None) -> dict[str, dict[str, Any]]:
    """Compare what each module said with what turned out to be true, in some conversations or in all.

    Returns:
        By module: `turns` with evidence, their mean metric `score` (0..1), and `right`, the share of turns on which a
        main field that is one label was right.
    """
    scores: dict[str, list[float]] = defaultdict(list)
    right: dict[str, dict[str, list[float]]] = {name: defaultdict(list) for name in MODULES}
    gym = gym_of(brain)
    for decision in gym.decisions():
        if among is not None and decision.conversation_id not in among:
            continue
        profile = brain.profile(decision.profile)
        truth = gym.truth(decision.conversation_id, decision.turn)
        history = gym.history(decision.conversation_id, decision.history_upto, brain.settings.brain_history_messages)
        for name, faculty in MODULES.items():
            example = faculty.example(decision, history, truth, profile)
            if example is None or name not in decision.readings:
                continue
            said = decision.readings[name]["fields"]
            scores[name].append(float(faculty.metric(example, said).score))
            for field in faculty.main_fields:
                if isinstance(truth.get(field), str) and field in profile.labels:
                    right[name][field].append(float(truth[field] == said.get(field)))
    return {
        name: {
            "turns": len(scores[name]),
            "score": _rounded(scores[name]),
            "right": {field: _rounded(shares) for field, shares in right[name].items()},
        }
        for name in MODULES
    }


def _rounded(values: list[float]) -> float | None:
    value = mean(values)
    return None if value is None else round(value, 3)
