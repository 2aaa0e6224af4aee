"""The whole story on the bundled conversations, in a gym of its own: observe, learn, and test what was learnt."""

import shutil
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

from understudy.checkpoints.gym import Gym
from understudy.checkpoints.private import make_private, write_private
from understudy.drawing import as_svg, course_of, in_terminal
from understudy.nodes.ab_life import statistics
from understudy.nodes.brain import Brain, gym_of
from understudy.nodes.modules import MODULES
from understudy.nodes.scoring import mean
from understudy.optimize import optimize
from understudy.replay import replay
from understudy.settings import Settings

BUNDLED = Path(__file__).parent / "examples" / "conversations.jsonl"

LEARNT = 0.75
"""Share of the conversations that are observed before learning; the versions are tested on the others."""


async def run_demo(
    folder: Path,
    on_conversation: Callable[[int], None] = lambda turns: None,
    on_news: Callable[[dict[str, Any]], None] = lambda news: None,
) -> dict[str, Any]:
    """Observe three quarters of the bundled conversations, learn from them, and observe the rest, in a fresh gym.

    What was learnt is tested on the rest: both versions answer there, as they would in a live chat.

    Returns:
        What each stage found: `observe` (the first part), `modules` (agreement with the truth), `optimize` (the report
        of the run), `later` (the rest), `ab` (by module, how its A/B test went) and `picture` (its course).

    Raises:
        OSError: the folder cannot be made.
        GymError: the gym cannot be written.
    """
    own = {"brain_profile": "default", "brain_enabled": True, "rl_gym_enabled": True, "use_optimized_modules": True}
    make_private(folder)
    files = {"optimized_modules_dir": folder / "demo_modules", "rl_gym_db_path": _fresh(folder / "demo_gym.db")}
    shutil.rmtree(files["optimized_modules_dir"], ignore_errors=True)
    brain = Brain(Settings().model_copy(update={**own, **files, "publish_approval": "auto", "ab_share": 1.0}))
    gym = gym_of(brain)
    first, rest = _parts(folder)
    found: dict[str, Any] = {"observe": (await replay([first], brain, on_conversation)).to_json(gym)}
    found["modules"] = agreement(brain)
    found["optimize"] = await optimize(brain, on_news=on_news)
    found["later"] = (await replay([rest], brain, on_conversation)).to_json(gym)
    found["ab"] = {str(trial.module): statistics(brain, trial.name) for trial in gym.trials.all()}
    found["picture"], found["plot"] = _drawn(gym, folder, found["ab"])
    gym.close()
    return found


def _parts(folder: Path) -> tuple[Path, Path]:
    """Write the conversations that are learnt from, and those that come later."""
    lines = BUNDLED.read_text(encoding="utf-8").splitlines(keepends=True)
    learnt = round(LEARNT * len(lines))
    parts = folder / "first.jsonl", folder / "rest.jsonl"
    for path, some in zip(parts, (lines[:learnt], lines[learnt:]), strict=True):
        write_private(path, "".join(some))
    return parts


def _drawn(gym: Gym, folder: Path, tests: dict[str, dict[str, Any]]) -> tuple[str | None, str | None]:
    """Save the course of the test that says most as a picture, and return where that is and a drawing of it."""
    if not tests:
        return None, None
    course = course_of(gym, max(tests.values(), key=lambda one: float(one["e_value"])))
    picture = folder / "ab_test.svg"
    write_private(picture, as_svg(course))
    return str(picture), in_terminal(course)


def _fresh(path: Path) -> Path:
    for suffix in ("", "-wal", "-shm"):
        path.with_name(path.name + suffix).unlink(missing_ok=True)
    return path


def agreement(brain: Brain) -> dict[str, dict[str, Any]]:
    """Compare what each module said with what turned out to be true.

    Returns:
        By module: `turns` with evidence, their mean metric `score` (0..1), and `right`, the share of turns on which a
        main field that is one label was right.
    """
    scores: dict[str, list[float]] = defaultdict(list)
    right: dict[str, dict[str, list[float]]] = {name: defaultdict(list) for name in MODULES}
    gym = gym_of(brain)
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
