"""`understudy dream`, as a person types it."""

from pathlib import Path

import pytest

from understudy.benchmarks.prove import run_cli
from understudy.tests.gyms import Observed
from understudy.tests.test_cli import ok


def test_dream_dreams_and_shows(observed: Observed) -> None:
    observed(60)
    found = ok("dream", "--count", "5")
    keys = ("status", "dreams", "replayed", "invented")
    assert [found[key] for key in keys] == ["success", 5, 4, 1]
    assert isinstance(found["screened_out"], int) and found["seconds"] > 0
    again = ok("dream", "--run-id", found["cycle"])
    assert (again["cycle"], again["ended_at"]) == (found["cycle"], found["ended_at"]), "it is not dreamt twice"
    shown = ok("dream", "--show")
    assert shown["cycle"] == found["cycle"] and len(shown["newest"]) == 3
    status, out, err = run_cli("dream", "--show")
    assert (status, err) == (0, "") and "dreams" in out and "  customer " in out and "  agent " in out
    report = ok("dataset", "--module", "intent")
    assert report["dreams"]["examples"] > 0 and 0 < report["dreams"]["share_of_train"] < 0.5


@pytest.mark.parametrize(
    ("arguments", "environment", "status", "says"),
    [
        (("--show",), {}, 1, "no dream cycle of profile default"),
        (("--profile", "nope"), {}, 1, "no profile 'nope'"),
        (("--count", "0"), {}, 2, "0 is not in the range"),
        ((), {"RL_GYM_ENABLED": "false"}, 1, "RL_GYM_ENABLED=false"),
        ((), {"DREAM_HALLUCINATION_RATIO": "2"}, 1, "DREAM_HALLUCINATION_RATIO='2'"),
    ],
)
def test_what_cannot_be_is_one_line(
    home: Path, arguments: tuple[str, ...], environment: dict[str, str], status: int, says: str
) -> None:
    found, out, err = run_cli("dream", *arguments, **environment)
    assert (found, out) == (status, "") and says in err
    assert status == 2 or err.count("\n") == 1


def test_too_little_is_skipped_and_says_so(home: Path) -> None:
    found = ok("dream")
    assert (found["status"], found["dreams"]) == ("skipped", 0)
    assert found["reason"] == "0 closed conversations; 50 are needed (DREAM_MIN_CONVERSATIONS)"


def test_help_teaches(home: Path) -> None:
    status, out, _ = run_cli("dream", "--help")
    assert status == 0 and "serve for training only" in " ".join(out.split())
