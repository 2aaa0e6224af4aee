"""The life of an A/B test: how it begins, what the evidence says, how it ends, and what follows from that.

A test compares two versions of one module on the closed conversations of one profile. It ends with the first verdict
of `PairedBettingTest` that rests on LEAST_CONVERSATIONS, or without one at AB_MAX_CONVERSATIONS. Then one rule holds,
whoever began it: if the loser is in use, the winner comes into its place; a candidate that has not won is rejected.
"""

import json
import logging
from collections.abc import Iterable
from contextlib import suppress
from statistics import fmean
from typing import Any, Literal

from understudy.checkpoints.file import now
from understudy.checkpoints.trials import WAITS, Ending, Trial, TrialRuns
from understudy.checkpoints.versioning import BASELINE, LATEST, VersionError
from understudy.intake import InputError, UnderstudyError, clean_text
from understudy.nodes.betting import PairedBettingTest
from understudy.nodes.brain import Brain, gym_of
from understudy.nodes.modules import PROGRAMS

Origin = Literal["candidate", "published", "hand"]

LEAST_CONVERSATIONS = 30
"""Fewer never decide anything, whatever the statistics say: all of them may be of one odd day."""

TIE = 1e-9
"""Differences up to this are none."""

MORE_FAULTS, MORE_TIME, MORE_MS = 0.01, 2.0, 500.0
"""Guardrails: a winner that fails in so much more of its turns, or takes so many times as long and so many ms more,
does not come into use by itself."""

_ABOUT = (
    "profile", "module", "variant_a", "variant_b", "origin", "started_at", "ended_at", "reason", "consequence",
)  # fmt: skip

STOPPED = "stopped by hand"

LONGEST_NAME = 200

_DIFFERENCE = "B - A is between"

log = logging.getLogger("understudy")


class NoTest(UnderstudyError):
    """There is no such A/B test."""


def begin(
    brain: Brain, profile: str, module: str, a: str, b: str, origin: Origin = "hand", name: str | None = None
) -> Trial:
    """Begin a test of two versions of a module on the conversations of a profile; without a name it is given one.

    Raises:
        InputError: there is no such module.
        TrialRuns: a test of the module runs already, or the name is taken.
        VersionError: a version does not load.
    """
    if module not in PROGRAMS:
        raise InputError(f"no module {module[:60]!r}; there are {', '.join(PROGRAMS)}")
    a, b = (brain.versioning(profile).latest(module) if version == LATEST else version for version in (a, b))
    for version in (a, b):
        brain.loaded(PROGRAMS[module], profile, version)
    return enrol(brain, name or _free_name(brain, f"{profile}-{module}-{a}-{b}"), profile, module, a, b, origin)


def _free_name(brain: Brain, wanted: str) -> str:
    taken = {trial.name for trial in gym_of(brain).trials.all()}
    names = (wanted, *(f"{wanted}-{i}" for i in range(2, len(taken) + 2)))
    return next(name for name in names if name not in taken)


def enrol(brain: Brain, name: str, profile: str, module: str | None, a: str, b: str, origin: Origin = "hand") -> Trial:
    """Write down a test that begins now.

    Raises:
        InputError: the name is none.
        TrialRuns: it is taken, or a test of the module runs already.
    """
    settings = brain.settings
    if not 0 < len(name) <= LONGEST_NAME or clean_text(name) != name or not name.isprintable():
        raise InputError(f"test_name: must be text of 1 to {LONGEST_NAME} characters; got {name[:80]!r}")
    betting = json.dumps(PairedBettingTest(settings.ab_alpha, settings.ab_margin).to_json())
    trial = Trial(name, profile, module, a, b, origin, now(), settings.ab_max_conversations, betting)
    gym_of(brain).trials.start(trial)
    return trial


def begin_after(brain: Brain, profile: str, module: str, a: str, b: str, origin: Origin) -> str:
    """Begin the test of a version that has just been saved, and say so in one line.

    What has come into use ends a test that runs; a candidate waits for it.
    """
    trials = gym_of(brain).trials
    running = next((t for t in trials.running(profile) if t.module == module), None)
    if running and running.variant_b == b:
        return f"A/B test {running.name} runs"
    if running and origin == "published":
        end(brain, running, Ending(None, f"{b} has come into use"), then=False)
    try:
        return f"A/B test {begin(brain, profile, module, a, b, origin).name} has begun"
    except (TrialRuns, VersionError) as error:
        return f"its A/B test waits: {error}"


def take(trial: Trial, state: str, difference: float) -> tuple[str, Ending | None]:
    """Add a conversation to the statistics, and say how the test ends if it does."""
    try:
        test = _read(state)
    except NoTest as error:
        return state, Ending(None, f"its statistics cannot go on: {error}")
    test.update(max(-1.0, min(1.0, difference)))
    ending = None
    if test.sample_size >= min(LEAST_CONVERSATIONS, trial.most) and test.verdict:
        ending = Ending(test.verdict, _in_words(trial, test))
    elif test.sample_size >= trial.most:
        ending = Ending(None, f"not decided after {test.sample_size} conversations; {_between(test)}")
    return json.dumps(test.to_json()), ending


def _read(state: str) -> PairedBettingTest:
    try:
        return PairedBettingTest.from_json(json.loads(state))
    except (ValueError, KeyError, TypeError) as error:
        raise NoTest(f"what is kept of them is damaged, or of another version ({error}); start it anew") from None


def _in_words(trial: Trial, test: PairedBettingTest) -> str:
    count = f"{test.sample_size} conversations"
    if test.verdict == "equivalent":
        return f"no difference that matters on {count}; {_between(test)}"
    better, worse = (trial.variant_b, trial.variant_a) if test.verdict == "B" else (trial.variant_a, trial.variant_b)
    return f"{better} is better than {worse} on {count}; {_between(test)}"


def _between(test: PairedBettingTest) -> str:
    return _DIFFERENCE + " {:+.3f} and {:+.3f}".format(*test.interval)


def in_a_sentence(trial: Trial) -> str:
    """Say how a test stands, or how it ended and what followed, without figures of statistics."""
    if trial.ended_at is not None:
        reason = str(trial.reason).partition(f"; {_DIFFERENCE}")[0]
        return f"{reason}; {trial.consequence or 'what follows is not carried out yet'}"
    pair = f"{trial.variant_a} against {trial.variant_b}"
    try:
        return f"{pair}: not decided yet, after {_read(trial.betting).sample_size} conversations"
    except NoTest as error:
        return f"{pair}: {error}"


def lost(trials: Iterable[Trial], version: str) -> Trial | None:
    """Return the newest test that a version has lost, if it has lost one."""
    return next((t for t in reversed([*trials]) if t.ended_at and _sides(t)[1] == version), None)


def end(brain: Brain, trial: Trial, ending: Ending, *, then: bool = True) -> str:
    """End a test that runs, let follow what follows, and return that in one line; `then` as for `conclude`."""
    gym_of(brain).trials.end(trial.name, ending)
    return conclude(brain, trial.name, then=then)


def conclude(brain: Brain, name: str, *, approved: bool = False, then: bool = True) -> str:
    """Let follow from an ended test what follows, and return that in one line; again it changes nothing.

    Args:
        brain: what to work with.
        name: the test.
        approved: a person has agreed, where PUBLISH_APPROVAL=manual asks for one.
        then: a candidate that waits for its test gets it now.
    """
    trials = gym_of(brain).trials
    trial = trials.find(name)
    if trial is None or trial.ended_at is None:
        raise NoTest(f"no A/B test {name[:80]!r} has ended")
    if trial.consequence is not None and not (approved and trial.consequence.startswith(WAITS)):
        return trial.consequence
    if trial.module is None:
        trials.note(name, "nothing follows by itself")
        return "nothing follows by itself"
    versioning = brain.versioning(trial.profile)
    before = versioning.latest(trial.module)
    try:
        followed = _follow(brain, trial, approved)
    except VersionError as error:
        # Not written down: it is tried again at the next look.
        log.warning("A/B test %s: what follows could not be carried out: %s", name, error)
        return f"it could not be carried out: {error}"
    trials.note(name, followed, trial.consequence)
    level = logging.INFO if before == versioning.latest(trial.module) else logging.WARNING
    log.log(level, "A/B test %s: %s; %s", name, trial.reason, followed)
    if then:
        _begin_waiting(brain, trial.profile, trial.module)
    return followed


def _follow(brain: Brain, trial: Trial, approved: bool) -> str:
    """Move `latest` if the loser is in use, and reject a candidate that has not won against what is in use."""
    module, versioning = str(trial.module), brain.versioning(trial.profile)
    in_use, why = versioning.latest(module), f"A/B test {trial.name}: {trial.reason}"
    winner, loser = _sides(trial)
    if winner is None or in_use != loser:
        return f"{_reject(brain, trial, in_use, winner)}{in_use} stays in use"
    if winner == BASELINE or versioning.metadata(module, winner).get("status") == "published":
        versioning.rollback(module, winner, why)
        return f"{winner} is in use again, {loser} is rolled back"
    by_hand = f"understudy rollback {module} {winner}"
    if broken := [rail["name"] for rail in guardrails(brain, trial, winner) if rail["ok"] is False]:
        return f"{winner} is not put into use, as it is worse in {', '.join(broken)}; to do it anyway: {by_hand}"
    if brain.settings.publish_approval == "manual" and not approved:
        return f"{WAITS}understudy ab declare {trial.name} puts {winner} into use"
    versioning.publish(module, winner, why)
    return f"{winner} is published, {loser} was in use before"


def _sides(trial: Trial) -> tuple[str | None, str | None]:
    """Return winner and loser, or None twice."""
    if trial.variant_a == trial.variant_b or trial.verdict not in ("A", "B"):
        return None, None
    versions = (trial.variant_a, trial.variant_b)
    return versions if trial.verdict == "A" else versions[::-1]


def _reject(brain: Brain, trial: Trial, in_use: str, winner: str | None) -> str:
    """Reject a candidate that was tested against what is in use to the end, and has not won; say so."""
    module, versioning = str(trial.module), brain.versioning(trial.profile)
    versions = {trial.variant_a, trial.variant_b}
    said = ""
    if in_use in versions and _decided(trial):
        for version in sorted(versions - {in_use, winner}):
            if versioning.metadata(module, version).get("status") == "candidate":
                versioning.reject(module, version)
                said += f"{version} is rejected, "
    return said


def _decided(trial: Trial) -> bool:
    """Say whether a test went to its end; one that a person or a newer version ended has proved nothing."""
    return trial.verdict is not None or str(trial.reason).startswith("not decided")


def begin_all_waiting(brain: Brain) -> None:
    """Let candidates that wait have their test, where none of their module runs."""
    for profile, module in sorted({(t.profile, t.module) for t in gym_of(brain).trials.all() if t.module}):
        with suppress(UnderstudyError):  # of a profile that is gone; the others go on
            _begin_waiting(brain, profile, module)


def _begin_waiting(brain: Brain, profile: str, module: str) -> None:
    """Begin the test of the newest candidate that has had none against what is in use, if no test of the module runs.

    One whose test a person has stopped stays without.
    """
    trials, versioning = gym_of(brain).trials, brain.versioning(profile)
    tests = [trial for trial in trials.all() if (trial.profile, trial.module) == (profile, module)]
    if any(trial.ended_at is None for trial in tests):
        return
    in_use = versioning.latest(module)
    tested = {
        version
        for trial in tests
        for version, other in ((trial.variant_a, trial.variant_b), (trial.variant_b, trial.variant_a))
        if trial.reason == STOPPED or other == in_use and _decided(trial)
    }
    for version in reversed(versioning.list_versions(module)):
        if version not in tested and versioning.metadata(module, version).get("status") == "candidate":
            begin_after(brain, profile, module, in_use, version, "candidate")
            return


def declare(brain: Brain, name: str, min_sample_size: int = LEAST_CONVERSATIONS) -> dict[str, Any]:
    """Return the winner of a test (A, B or None) and what follows; a person who calls this has agreed.

    A module's test with a winner on so many conversations ends with this, if it still runs; any other goes on.
    """
    trial = find(brain, name)
    found = statistics(brain, trial.name)
    enough = found["sample_size"] >= min_sample_size
    verdict = found["recommended_winner"] if trial.ended_at is None else trial.verdict
    winner = verdict if enough and verdict in ("A", "B") else None
    followed, reason = trial.consequence, trial.reason
    if winner is not None:
        if trial.ended_at is None and trial.module is not None:
            gym_of(brain).trials.end(trial.name, Ending(winner, _in_words(trial, _read(trial.betting))))
        if trial.module is not None:
            followed, reason = conclude(brain, trial.name, approved=True), find(brain, trial.name).reason
    elif reason is None:
        reason = (
            f"not decided: {_between(_read(trial.betting))}"
            if enough
            else f"{found['sample_size']} conversations; {min_sample_size} are needed"
        )
    return {"test": trial.name, "winner": winner, "reason": reason, "consequence": followed}


def stop(brain: Brain, name: str) -> dict[str, Any]:
    """End a test by hand, without a verdict.

    Raises:
        NoTest: there is none of that name, or it has ended.
    """
    trial = find(brain, name)
    if trial.ended_at is not None:
        raise NoTest(f"A/B test {trial.name!r} has ended already: {trial.reason}")
    return {"test": trial.name, "reason": STOPPED, "consequence": end(brain, trial, Ending(None, STOPPED))}


def find(brain: Brain, name: str | None = None, profile: str | None = None) -> Trial:
    """Return a test by its own name, or by its module the one that runs, else the last; for None the only or last one.

    Raises:
        NoTest: there is none, or several fit.
    """
    tests = gym_of(brain).trials.all()
    if name is not None:
        by_name = [trial for trial in tests if trial.name == name]
        tests = by_name or [t for t in tests if t.module == name and t.profile == brain.profile(profile).name]
        if not tests:
            raise NoTest(f"no A/B test {name[:80]!r}; understudy ab status lists them")
    if not tests:
        raise NoTest("there is no A/B test yet; understudy ab start MODULE --a VERSION --b VERSION begins one")
    running = [trial for trial in tests if trial.ended_at is None]
    if len(running) > 1:
        raise NoTest(f"several A/B tests run: {', '.join(trial.name for trial in running)}; name one")
    return running[0] if running else tests[-1]


def statistics(brain: Brain, name: str) -> dict[str, Any]:
    """Return all that is known of a test.

    Keys: test, profile, module, variant_a, variant_b, origin, started_at, ended_at, verdict, reason, consequence;
    sample_size (conversations), mean_score_a, mean_score_b (0..1), improvement_pct, wins_a, wins_b, ties, interval of
    the mean difference B - A, e_value, is_significant, recommended_winner; conversations {entered, open, unscored,
    left_out}, without_evidence (share of the closed ones), late (turns), guardrails.
    """
    gym = gym_of(brain)
    trial = gym.trials.find(name)
    if trial is None:
        raise NoTest(f"no A/B test {name[:80]!r}; understudy ab status lists them")
    test = _read(trial.betting)
    course, states = gym.trials.course(name), gym.trials.states(name)
    mean_a, mean_b = (fmean(pair[i] for pair in course) if course else None for i in (0, 1))
    closed = states.get("entered", 0) + states.get("unscored", 0)
    winner = test.verdict if test.verdict in ("A", "B") else None
    return {
        "test": trial.name,
        **{key: getattr(trial, key) for key in _ABOUT},
        "alpha": test.alpha,
        "margin": test.margin,
        "sample_size": test.sample_size,
        "max_sample_size": trial.most,
        "mean_score_a": _rounded(mean_a),
        "mean_score_b": _rounded(mean_b),
        "improvement_pct": _gain(mean_a, mean_b),
        "wins_a": sum(b - a < -TIE for a, b in course),
        "wins_b": sum(b - a > TIE for a, b in course),
        "ties": sum(abs(b - a) <= TIE for a, b in course),
        "interval": [round(edge, 6) for edge in test.interval],
        "e_value": float(f"{test.e_value:.6g}"),
        "is_significant": winner is not None,
        "recommended_winner": winner,
        "verdict": test.verdict,
        "conversations": {state: states.get(state, 0) for state in ("entered", "open", "unscored", "left_out")},
        "without_evidence": round(states.get("unscored", 0) / closed, 4) if closed else 0.0,
        "late": states["late"],
        "guardrails": guardrails(brain, trial, _sides(trial)[0]),
    }


def guardrails(brain: Brain, trial: Trial, winner: str | None = None) -> list[dict[str, Any]]:
    """Compare what the answers of both variants cost: name, a, b, and whether the winner keeps within what is allowed.

    As long as there is none, it is B that has to.

    Tokens have no limit: a longer instruction is read once by a server that keeps what it has read.
    """
    costs = gym_of(brain).trials.costs(trial.name)
    a, b = costs["a"], costs["b"]
    fails_a, fails_b = (side["faults"] / side["turns"] if side["turns"] else 0.0 for side in (a, b))
    is_a = winner == trial.variant_a
    more_faults = fails_a - fails_b if is_a else fails_b - fails_a
    slower, faster = (a["ms"], b["ms"]) if is_a else (b["ms"], a["ms"])
    slow = slower > MORE_TIME * faster and slower - faster > MORE_MS
    return [
        _rail("fault_rate", fails_a, fails_b, more_faults <= MORE_FAULTS),
        _rail("latency_ms", a["ms"], b["ms"], not slow),
        _rail("tokens", a["tokens"], b["tokens"], None),
    ]


def _rail(name: str, a: float, b: float, ok: bool | None) -> dict[str, Any]:
    return {"name": name, "a": round(a, 4), "b": round(b, 4), "ok": ok}


def _gain(a: float | None, b: float | None) -> float | None:
    if a is None or b is None or (a == 0 and b != 0):
        return None
    return round(100 * (b - a) / a, 2) if a else 0.0


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 6)
