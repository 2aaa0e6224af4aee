"""Erase conversations everywhere: from the gym with its checkpoints and dreams, and from what learning left on disk.

What a version has learnt cannot be taken out of it: versions that learnt from an erased conversation are named, and
`understudy retire` erases one. Exports and backups are the user's own: they are not looked for.
"""

import asyncio
import html
import json
import shutil
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from understudy.checkpoints.gym import Gym
from understudy.checkpoints.versioning import BASELINE, LATEST, ModuleVersioning
from understudy.intake import InputError
from understudy.nodes.ab_life import stop
from understudy.nodes.brain import Brain
from understudy.nodes.modules import PROGRAMS
from understudy.nodes.publish import learnt_from
from understudy.observing import thread_of
from understudy.optimize import alone, gym_of, versioning_of, waiting_runs

CUSTOMER_KEYS = ("id", "customer_id")
"""Keys of a customer object that are looked at when only a value is given."""

AT_ONCE = 100
"""Conversations of a batch of the daily erasure."""

REST = 3.0
"""After each transaction others may write for so many times as long as it took."""

LEAST_QUOTE = 16
"""Characters of a message that are looked for in files; shorter ones are nobody's own."""

Advance = Callable[[int], object]


def conversations_of(brain: Brain, customer: str) -> list[str]:
    """Return the conversations of a customer, given as a value of `id` or `customer_id`, or as `key=value`.

    Raises:
        InputError: the gym has none.
    """
    gym = gym_of(brain)
    key, equals, value = customer.partition("=")
    found = gym.erasure.of_customer((key,) if equals else CUSTOMER_KEYS, value if equals else customer)
    if not found:
        where = repr(key) if equals else " or ".join(map(repr, CUSTOMER_KEYS))
        raise InputError(f"no conversation in {gym.path} whose customer has {where} {(value or key)[:60]!r}")
    return found


def known(brain: Brain, conversation_ids: Iterable[str]) -> list[str]:
    """Return conversations, each once, if the gym holds something of all of them.

    Raises:
        InputError: it holds nothing of one.
    """
    gym, wanted = gym_of(brain), list(dict.fromkeys(conversation_ids))
    for one in wanted:
        if not gym.erasure.known(one):
            raise InputError(f"no conversation {one[:60]!r} in {gym.path}; nothing was erased: check its id")
    return wanted


def forget(
    brain: Brain, conversation_ids: Sequence[str], *, rewrite: bool = True, advance: Advance = lambda count: None
) -> dict[str, Any]:
    """Erase conversations everywhere, and write the gym's file anew.

    Args:
        brain: what to work with.
        conversation_ids: which; of others the counts are 0.
        rewrite: whether to write the file anew; without that traces may stay in unused parts of its pages. Other
            writers wait meanwhile.
        advance: told how many conversations have been erased since the last time.

    Returns:
        Counts by what was erased, and the `versions` that learnt from it.

    Raises:
        OptimizationBusy: another process learns or dreams from a profile of theirs.
        GymError: the file cannot be written; what was erased before stays so.
    """
    gym, started = gym_of(brain), time.monotonic()
    with _nobody_learns(brain, gym.erasure.profiles(conversation_ids)):
        found = _erased(brain, gym, conversation_ids, advance)
        if rewrite:
            gym.erasure.rewrite()
        else:
            gym.erasure.empty_log()
    return _report(found, started)


def forget_expired(
    brain: Brain, *, present: datetime | None = None, advance: Advance = lambda count: None
) -> dict[str, Any]:
    """Erase the conversations in which nothing was said for RL_GYM_RETENTION_DAYS, while the worker goes on.

    It is done in many short transactions. The file is not written anew: it keeps its size, and is filled again.

    Args:
        brain: what to work with.
        present: from when the days are counted back; None takes now.
        advance: told how many conversations have been erased since the last time.

    Returns:
        What `forget` does.

    Raises:
        InputError: RL_GYM_RETENTION_DAYS is 0.
        OptimizationBusy: another process learns or dreams.
    """
    gym, started, days = gym_of(brain), time.monotonic(), brain.settings.rl_gym_retention_days
    if not days:
        raise InputError("RL_GYM_RETENTION_DAYS=0: everything is kept; set it to a number of days")
    moment = (
        ((present or datetime.now(UTC)) - timedelta(days=days))
        .isoformat(timespec="microseconds")
        .replace("+00:00", "Z")
    )
    found: Counter[str] = Counter()
    versions: dict[str, Any] = {}
    with _nobody_learns(brain, _profiles_on_disk(brain)):
        row: int | None = 0
        while row is not None:
            gone, row = gym.erasure.ended_before(moment, row, AT_ONCE)
            if gone:
                one = _erased(brain, gym, gone, advance, rest=REST)
                versions |= {f"{v['profile']} {v['module']} {v['version']}": v for v in one.pop("versions")}
                found.update(one)
        gym.erasure.empty_log()
    return _report({**found, "versions": list(versions.values())}, started)


def rewrite(brain: Brain) -> dict[str, Any]:
    """Write the gym's file anew, so that nothing that was ever erased is left in it; return bytes before and after."""
    gym, started = gym_of(brain), time.monotonic()
    before = gym.path.stat().st_size
    gym.erasure.rewrite()
    return {"bytes_before": before, "bytes": gym.path.stat().st_size, "seconds": round(time.monotonic() - started, 3)}


def retire(brain: Brain, module: str, version: str, profile: str | None) -> dict[str, Any]:
    """Erase a version for good, and end the tests that it takes part in.

    Returns:
        module, profile, the `retired` version, the `version` in use now, and the `tests` that have ended.

    Raises:
        InputError: there is no such module.
        VersionError: there is no such version, or it is the baseline.
    """
    versioning = versioning_of(brain, module, profile)
    number = versioning.latest(module) if version == LATEST else version
    if number != BASELINE and number in versioning.list_versions(module):
        running = [
            trial for trial in gym_of(brain).trials.running(versioning.profile)
            if trial.module == module and number in (trial.variant_a, trial.variant_b)
        ]  # fmt: skip
    else:
        running = []
    for trial in running:
        stop(brain, trial.name)
    versioning.retire(module, number)
    return {
        "module": module,
        "profile": versioning.profile,
        "retired": number,
        "version": versioning.latest(module),
        "tests": [trial.name for trial in running],
    }


def _report(found: dict[str, Any], started: float) -> dict[str, Any]:
    names = ("conversations", "events", "decisions", "evidence", "checkpoints", "suggestions", "ab_results", "dreams",
             "reports", "run_folders")  # fmt: skip
    counts = {name: found.get(name, 0) for name in names}
    count = counts["conversations"]
    said = f"{count} conversation{'s' * (count != 1)} erased"
    seconds = round(time.monotonic() - started, 3)
    return {"status": "success", "reason": said, **counts, "versions": found.get("versions", []), "seconds": seconds}


def _nobody_learns(brain: Brain, profiles: Iterable[str]) -> ExitStack:
    """Hold what an optimisation and a dream cycle hold: each keeps conversations in memory and in files of its own."""
    with ExitStack() as held:
        for name in sorted(profiles):
            folder = brain.settings.optimized_modules_dir / name
            if folder.is_dir():
                for what in ("optimizing", "dreaming"):
                    held.enter_context(alone(folder, what))
        return held.pop_all()


def _profiles_on_disk(brain: Brain) -> list[str]:
    folder = brain.settings.optimized_modules_dir
    return [path.name for path in folder.iterdir() if path.is_dir()] if folder.is_dir() else []


def _erased(
    brain: Brain, gym: Gym, conversation_ids: Sequence[str], advance: Advance, rest: float = 0.0
) -> dict[str, Any]:
    found: Counter[str] = Counter()
    profiles = gym.erasure.profiles(conversation_ids)
    said = [] if rest else gym.erasure.texts(conversation_ids)
    quotes = {text for text in said if len(text) >= LEAST_QUOTE}
    versions = [one for name in sorted(profiles) for one in _versions(brain, name, conversation_ids)]
    # First what was made of them, the conversations last: whoever is stopped in between can begin again.
    for name in profiles:
        found += _files(brain.settings.optimized_modules_dir / name, quotes)
    gym.erasure.runs(asyncio.run(waiting_runs(gym, profiles)), quotes)
    found["dreams"] += gym.dreams.erase(gym.dreams.made_of(conversation_ids))
    for one in conversation_ids:
        began = time.monotonic()
        rows = gym.erasure.conversation(one, thread_of(one))
        found.update(rows)
        found["conversations"] += bool(rows["events"])
        advance(1)
        time.sleep(rest * (time.monotonic() - began))
    return {**found, "versions": versions}


def _versions(brain: Brain, profile: str, conversation_ids: Sequence[str]) -> Iterator[dict[str, Any]]:
    """Yield the versions of a profile that learnt from one of the conversations, and those that were made from them."""
    wanted = set(learnt_from(conversation_ids))
    versioning = ModuleVersioning(brain.settings.optimized_modules_dir, profile)
    for module in PROGRAMS:
        listed: set[str] = set()
        for version in versioning.list_versions(module):
            known = versioning.metadata(module, version)
            if wanted & set(known.get("learnt_from") or ()) or known.get("parent") in listed:
                listed.add(version)
                used = version == versioning.latest(module)
                command = f"understudy retire {module} {version} --profile {profile}"
                yield {"profile": profile, "module": module, "version": version, "in_use": used, "retire": command}


def _files(folder: Path, quotes: Iterable[str]) -> Counter[str]:
    """Erase GEPA's folders of killed runs, and reports that quote one of the texts; return how many."""
    found: Counter[str] = Counter()
    for path in folder.glob(".runs/*"):
        shutil.rmtree(path)
        found["run_folders"] += 1
    wanted = {form for text in quotes for form in (text, html.escape(text), json.dumps(text)[1:-1])}
    for path in folder.glob("reports/*.html"):
        said = path.read_text(encoding="utf-8", errors="replace")
        if any(text in said for text in wanted):
            path.unlink()
            found["reports"] += 1
    return found
