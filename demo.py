"""The whole story on the bundled conversations, in a gym of its own."""

from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

from understudy.checkpoints.gym import Gym
from understudy.nodes.brain import Brain
from understudy.nodes.modules import MODULES
from understudy.nodes.scoring import mean
from understudy.replay import replay
from understudy.settings import Settings

BUNDLED = Path(__file__).parent / "examples" / "conversations.jsonl"


async def run_demo(folder: Path, on_conversation: Callable[[int], None]) -> dict[str, Any]:
    """Observe the bundled conversations into a fresh gym in `folder`, and return what each stage found.

    Raises:
        GymError: the folder cannot be written.
    """
    for suffix in ("", "-wal", "-shm"):
        (folder / f"demo_gym.db{suffix}").unlink(missing_ok=True)
    own = {"brain_profile": "default", "brain_enabled": True, "rl_gym_enabled": True}
    files = {"rl_gym_db_path": folder / "demo_gym.db", "optimized_modules_dir": folder / "optimized_modules"}
    brain = Brain(Settings().model_copy(update={**own, **files}))
    if (gym := brain.gym) is None:
        raise AssertionError("the demo's gym is always on")
    report = await replay([BUNDLED], brain, on_conversation)
    found = {"observe": report.to_json(gym), "modules": agreement(brain, gym)}
    gym.close()
    return found


def agreement(brain: Brain, gym: Gym) -> dict[str, dict[str, Any]]:
    """Compare what each module said with what turned out to be true.

    Returns:
        By module: `turns` with evidence, their mean metric `score` (0..1), and `right`, the share of turns on which a
        main field that is one label was right.
    """
    scores: dict[str, list[float]] = defaultdict(list)
    right: dict[str, dict[str, list[float]]] = {name: defaultdict(list) for name in MODULES}
    for decision in gym.decisions():
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
