"""Erase conversations everywhere: from the gym with its checkpoints and dreams, and from what learning left on disk.

What a version has learnt cannot be taken out of it: versions that learnt from an erased conversation are named, and
`understudy retire` erases one. Exports and backups are the user's own: they are not looked for.
"""

import asyncio
import html
import json
import re
import shutil
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from typing import Any

from understudy.checkpoints.file import GymError
from understudy.checkpoints.gym import Gym
from understudy.checkpoints.trials import WAITS, Ending
from understudy.checkpoints.versioning import LATEST, ModuleVersioning
from understudy.intake import InputError
from understudy.nodes.brain import Brain, gym_of
from understudy.nodes.job import learnt_from
from understudy.nodes.modules import PROGRAMS
from understudy.observing import thread_of
from understudy.optimize import alone, versioning_of, waiting_runs

CUSTOMER_KEYS = ("id", "customer_id")
"""Keys of a customer object that are looked at when only a value is given."""

AT_ONCE = 100
"""Conversations of a batch of the daily erasure."""

REST = 10.0
"""After each of its conversations others may write for so many times as long as it took."""

MOST_REWRITTEN = 500_000_000
"""Bytes of a file that is written anew without being asked: that takes some seconds a GB, in which others wait."""

LEAST_QUOTE = 16
"""Characters of a message that are looked for in files; shorter ones are nobody's own."""

_LATER = "run `understudy forget --rewrite` when nobody needs to write"
_COUNTS = (
    "conversations", "events", "decisions", "evidence", "checkpoints", "suggestions", "ab_results", "dreams", "reports",
    "run_folders",
)  # fmt: skip

Advance = Callable[[int], object]


def conversations_of(brain: Brain, customer: str) -> list[str]:
    """Return the conversations of a customer, given as a value of `id` or `customer_id`, or as `key=value`.

    Raises:
        InputError: the gym has none.
    """
    gym = gym_of(brain)
    key, equals, value = customer.partition("=")
    found = gym.erasure.of_customer(CUSTOMER_KEYS, customer)
    if equals and not found:
        found = gym.erasure.of_customer((key,), value)
    if not found:
        raise InputError(
            f"no conversation in {gym.path} whose customer has the {' or '.join(CUSTOMER_KEYS)} {customer[:60]!r}"
            + (f", or the {key[:60]} {value[:60]!r}" if equals else "; another key is named as KEY=VALUE")
        )
    return found


def forget(
    brain: Brain,
    conversation_ids: Iterable[str],
    *,
    rewrite: bool | None = None,
    advance: Advance = lambda count: None,
) -> dict[str, Any]:
    """Erase conversations everywhere, and write the gym's file anew.

    Args:
        brain: what to work with.
        conversation_ids: which; those that the gym does not know are named in the report.
        rewrite: whether to write the file anew, which holds other writers up; None leaves it out for a file over
            MOST_REWRITTEN. Without it traces may stay in unused parts of the file's pages.
        advance: told how many conversations have been erased since the last time.

    Returns:
        Counts by what was erased; the `unknown` conversations; the `versions` that learnt from the others; modules of
        which a version is `waiting` for a person, runs that are `unfinished`; whether the file was `rewritten`. The
        `status` is "error" when the rows are erased and the file could not be written anew; `reason` says what to do.

    Raises:
        InputError: the gym knows none of the conversations.
        OptimizationBusy: another process learns or dreams from a profile of theirs.
        GymError: a conversation could not be erased; what was erased before stays so.
    """
    gym, started, wanted = gym_of(brain), time.monotonic(), list(dict.fromkeys(conversation_ids))
    unknown = [one for one in wanted if not gym.erasure.known(one)]
    versions = list(_versions(brain, wanted))
    # One that is erased already can still be asked for: versions may have learnt from it.
    if len(unknown) == len(wanted) and not versions:
        raise InputError(f"no conversation {wanted[0][:60]!r} in {gym.path}; nothing was erased: check its id")
    profiles = gym.erasure.profiles(wanted)
    quotes = {text for text in gym.erasure.texts(wanted) if len(text) >= LEAST_QUOTE}
    with _nobody_learns(brain, profiles):
        found = _learning_erased(brain, gym, profiles)
        found["reports"] = _reports_erased(brain, gym, profiles, quotes)
        _erased(gym, wanted, found, advance)
        size = gym.path.stat().st_size
        large = rewrite is None and size > MOST_REWRITTEN
        why = _rewritten(gym, rewrite is not False and not large)
    report = _report(found, versions, started)
    if large:
        report["reason"] += f"; the file has {size / 1e9:.1f} GB and was not written anew: {_LATER}"
    if why is not None:
        report |= {"status": "error", "reason": f"{report['reason']}, but {why}; {_LATER}"}
    rewritten = rewrite is not False and not large and why is None
    return {**report, "unknown": unknown, "unfinished": gym.erasure.unfinished(), "rewritten": rewritten}


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
        Counts by what was erased, and the `versions` that learnt from it.

    Raises:
        InputError: RL_GYM_RETENTION_DAYS is 0.
        OptimizationBusy: another process learns or dreams.
        GymError: a conversation could not be erased, or the file's log could not be emptied as somebody reads it.
    """
    gym, started, days = gym_of(brain), time.monotonic(), brain.settings.rl_gym_retention_days
    if not days:
        raise InputError("RL_GYM_RETENTION_DAYS=0: everything is kept; set it to a number of days")
    oldest = (present or datetime.now(UTC)) - timedelta(days=days)
    moment = oldest.isoformat(timespec="microseconds").replace("+00:00", "Z")
    versions: dict[str, Any] = {}
    profiles = _profiles_on_disk(brain)
    with _nobody_learns(brain, profiles):
        found = _learning_erased(brain, gym, profiles)
        row: int | None = 0
        while row is not None:
            gone, row = gym.erasure.ended_before(moment, row, AT_ONCE)
            if gone:
                versions |= {one["retire"]: one for one in _versions(brain, gone)}
                _erased(gym, gone, found, advance, moment)
        gym.erasure.empty_log()
    return _report(found, list(versions.values()), started)


def rewrite(brain: Brain) -> dict[str, Any]:
    """Write the gym's file anew, so that nothing that was ever erased is left in it; return bytes before and after."""
    gym, started = gym_of(brain), time.monotonic()
    before = gym.path.stat().st_size
    gym.erasure.rewrite()
    return {"bytes_before": before, "bytes": gym.path.stat().st_size, "seconds": round(time.monotonic() - started, 3)}


def retire(brain: Brain, module: str, version: str, profile: str | None) -> dict[str, Any]:
    """Erase a version for good, and end the tests that it takes part in; its number is not given again.

    Returns:
        module, profile, the `retired` version, the `version` in use now, and the `tests` that have ended.

    Raises:
        InputError: there is no such module.
        VersionError: there is no such version, or it is the baseline.
    """
    versioning, trials = versioning_of(brain, module, profile), gym_of(brain).trials
    number = versioning.latest(module) if version == LATEST else version
    versioning.retire(module, number)
    gone, ended = f"{number} was retired", []
    for trial in trials.all():
        of_it = (trial.profile, trial.module) == (versioning.profile, module)
        if not of_it or number not in (trial.variant_a, trial.variant_b):
            continue
        if trials.end(trial.name, Ending(None, gone)):
            ended.append(trial.name)
        if trial.consequence is None or trial.consequence.startswith(WAITS):
            trials.note(trial.name, f"none: {gone}", trial.consequence)
    found = {"module": module, "profile": versioning.profile, "retired": number, "version": versioning.latest(module)}
    return {**found, "tests": ended}


def _report(found: dict[str, Any], versions: list[dict[str, Any]], started: float) -> dict[str, Any]:
    count = found.get("conversations", 0)
    return {
        "status": "success",
        "reason": f"{count} conversation{'s' * (count != 1)} erased",
        **{name: found.get(name, 0) for name in _COUNTS},
        "versions": versions,
        "waiting": found["waiting"],
        "seconds": round(time.monotonic() - started, 3),
    }


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
    names = [path.name for path in folder.iterdir() if path.is_dir()] if folder.is_dir() else []
    return sorted(name for name in names if re.fullmatch("[a-z0-9_]{1,40}", name))


def _erased(
    gym: Gym,
    conversation_ids: Sequence[str],
    found: dict[str, Any],
    advance: Advance,
    silent_since: str | None = None,
) -> None:
    """Erase conversations and the dreams of them, and count; if there is a moment, beside a worker that goes on."""
    found["dreams"] += gym.dreams.erase(gym.dreams.made_of(conversation_ids))
    for one in conversation_ids:
        began = time.monotonic()
        rows = gym.erasure.conversation(one, thread_of(one), silent_since)
        for name, count in rows.items():
            found[name] += count
        found["conversations"] += bool(rows["events"])
        advance(1)
        if silent_since is not None:
            time.sleep(REST * (time.monotonic() - began))


def _learning_erased(brain: Brain, gym: Gym, profiles: Iterable[str]) -> dict[str, Any]:
    """Erase what optimisations and dream cycles have kept; return counts, and what is `waiting` for a person."""
    found: dict[str, Any] = Counter()
    for name in profiles:
        for path in (brain.settings.optimized_modules_dir / name).glob(".runs/*"):
            if path.is_dir():
                shutil.rmtree(path)
                found["run_folders"] += 1
    threads = gym.erasure.threads_of_runs()
    waiting = asyncio.run(waiting_runs(gym, threads)) if threads else {}
    gym.erasure.runs(threads, waiting)
    found["waiting"] = sorted({str(one["module"]) for asked in waiting.values() for one in asked})
    return found


def _reports_erased(brain: Brain, gym: Gym, profiles: Iterable[str], quotes: set[str]) -> int:
    """Erase reports that quote one of the texts, and such texts in the rows that they were made from."""
    gym.erasure.quotes(quotes)
    wanted = {form for text in quotes for form in (text, html.escape(text), json.dumps(text)[1:-1])}
    count = 0
    for name in profiles:
        for path in (brain.settings.optimized_modules_dir / name).glob("reports/*.html"):
            said = path.read_text(encoding="utf-8", errors="replace")
            if any(text in said for text in wanted):
                path.unlink()
                count += 1
    return count


def _versions(brain: Brain, conversation_ids: Sequence[str]) -> Iterator[dict[str, Any]]:
    """Yield the versions that learnt from one of the conversations, or were made from one that did."""
    wanted = set(learnt_from(conversation_ids))
    for profile in _profiles_on_disk(brain):
        versioning = ModuleVersioning(brain.settings.optimized_modules_dir, profile)
        for module in PROGRAMS:
            for version in versioning.list_versions(module):
                if wanted & set(versioning.metadata(module, version).get("learnt_from") or ()):
                    used = version == versioning.latest(module)
                    command = f"understudy retire {module} {version} --profile {profile}"
                    yield {"profile": profile, "module": module, "version": version, "in_use": used, "retire": command}


def _rewritten(gym: Gym, whole: bool) -> str | None:
    """Write the file anew, or only empty its log, and say why that could not be done."""
    try:
        if whole:
            gym.erasure.rewrite()
        else:
            gym.erasure.empty_log()
    except GymError as error:
        return str(error)
    return None
