"""The command line, as a person and as a script see it."""

import json
import os
import signal
import sqlite3
import stat
import sys
import tempfile
import threading
import time
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from understudy import cli, demo
from understudy.benchmarks.prove import rows, run_cli, write
from understudy.checkpoints.gym import Gym
from understudy.tests.gyms import Observed

COMMANDS = (
    "ab", "backup", "compare", "dataset", "demo", "doctor", "dream", "export", "forget", "label", "models", "optimize",
    "outcome", "replay", "retire", "rollback", "serve", "status", "suggestions", "versions",
)  # fmt: skip
BASELINE_SCORES = {"conflict": 0.566, "intent": 0.421, "quality": 0.776, "goals": 0.337, "response": 0.67}
"""What the hand-written instructions score on the bundled conversations: no improvement may come from a bad start."""

MODULES = ["conflict", "goals", "intent", "quality", "response"]


def recording(id: str = "c1", turns: int = 2, **more: Any) -> dict[str, Any]:
    messages = [{"role": ("customer", "agent")[i % 2], "text": f"message {i}"} for i in range(2 * turns)]
    return {"conversation_id": id, "messages": messages, **more}


def ok(*arguments: str, **environment: str) -> dict[str, Any]:
    """Run a command with --json, and return the one object that it prints."""
    status, out, err = run_cli(*arguments, "--json", **environment)
    assert (status, err) == (0, ""), err
    assert out.count("\n") == 1
    found: dict[str, Any] = json.loads(out)
    return found


@pytest.fixture
def replayed(home: Path) -> Path:
    """A gym with two conversations of two turns."""
    ok("replay", str(write(home / "c.jsonl", [recording("c1"), recording("c2")])))
    return home


def truth(field: str, conversation_id: str = "c1", turn: int = 0) -> Any:
    gym = Gym(Path("brain_gym.db"))
    try:
        return gym.truth(conversation_id, turn).get(field)
    finally:
        gym.close()


def test_replay_says_what_it_did(home: Path) -> None:
    found = ok("replay", str(write(home / "c.jsonl", [recording("c1"), recording("c2")])))
    assert {"conversations", "turns", "decisions", "faults", "evidence", "skipped", "seconds", "turn_ms", "gym"} <= set(
        found
    )
    assert (found["conversations"], found["turns"], found["decisions"], found["faults"]) == (2, 4, 4, 0)
    assert found["turn_ms"]["p95"] >= found["turn_ms"]["p50"] > 0 and found["gym"] == "brain_gym.db"
    assert all(isinstance(found[key], int) for key in ("conversations", "turns", "decisions", "faults", "evidence"))


def test_replay_in_words_says_the_same(home: Path) -> None:
    status, out, err = run_cli("replay", str(write(home / "c.jsonl", [recording()])))
    assert (status, err) == (0, "")
    assert out.splitlines()[:2] == ["conversations  1", "turns          2"] and "turn ms        p50 " in out


def test_bad_lines_are_told_on_stderr_and_the_status_is_1(home: Path) -> None:
    file = write(home / "c.jsonl", [recording("c1"), {"conversation_id": "\x1b[2J"}, recording("c2")])
    status, out, err = run_cli("replay", str(file), "missing\x1b[2J.jsonl", "--json")
    assert status == 1 and err.splitlines() == [
        f"understudy: {file}:2: messages: is missing",
        "understudy: missing\\x1b[2J.jsonl: cannot be read: No such file or directory",
    ]
    assert (json.loads(out)["conversations"], json.loads(out)["skipped"]) == (2, 2)


def test_replay_reads_a_pipe(home: Path) -> None:
    read, end = os.pipe()
    os.write(end, write(home / "c.jsonl", [recording()]).read_bytes())
    os.close(end)
    status, out, err = run_cli("replay", f"/dev/fd/{read}", "--json", TTY_COMPATIBLE="1")
    os.close(read)
    assert status == 0 and json.loads(out)["decisions"] == 2 and "observing" in err


def test_status_says_what_the_gym_holds(replayed: Path) -> None:
    ok("label", "c1", "0", "intent=booking")
    found = ok("status")
    keys = "decisions conversations evidence since_last_optimization modules backlog hours_to_drain models engine jobs"
    assert set(keys.split()) <= set(found)
    assert (found["decisions"], found["conversations"], found["backlog"], found["hours_to_drain"]) == (4, 2, 0, 0.0)
    assert sorted(found["evidence"]) == sorted(found["modules"]) == MODULES
    assert found["evidence"]["intent"] == 1 and found["evidence"]["response"] == 4
    assert found["engine"] == "embedded" and set(found["modules"].values()) == {"v0.0"}
    assert run_cli("status")[1].splitlines()[0] == "decisions                4"


def test_status_counts_what_waits(replayed: Path) -> None:
    with closing(sqlite3.connect("brain_gym.db")) as gym:
        gym.execute("UPDATE events SET processed_at = NULL WHERE conversation_id = 'c2'")
        gym.commit()
    found = ok("status")
    assert found["backlog"] == 2 and found["hours_to_drain"] is not None


def test_doctor_finds_all_well(home: Path) -> None:
    found = ok("doctor", RL_GYM_DB_PATH=str(home / "not" / "there" / "yet.db"))
    assert [check["name"] for check in found["checks"]] == [
        "settings", "profile", "gym", "programs", "modes", "disk", "student", "server",
    ]  # fmt: skip
    assert all(check["ok"] and set(check) == {"name", "ok", "detail"} for check in found["checks"])
    assert not (home / "not").exists()


@pytest.mark.parametrize(
    ("environment", "broken", "says"),
    [
        ({"LM_PROVIDER": "oracle"}, "settings", "LM_PROVIDER='oracle': must be "),
        ({"BRAIN_MODE": "live"}, "settings", "BRAIN_MODE='live': must be 'shadow'"),
        ({"BRAIN_PROFILE": "nope\x1b[2J"}, "profile", "no profile 'nope\\x1b[2J'; there are "),
        ({"RL_GYM_DB_PATH": "."}, "gym", "gym .: [Errno 21] Is a directory"),
    ],
)
def test_doctor_says_what_is_broken(home: Path, environment: dict[str, str], broken: str, says: str) -> None:
    status, out, err = run_cli("doctor", "--json", **environment)
    assert (status, err) == (1, "")
    assert {c["name"]: c["detail"] for c in json.loads(out)["checks"] if not c["ok"]}[broken].startswith(says)
    status, out, err = run_cli("doctor", **environment)
    assert status == 1 and f"BAD  {broken}: {says}" in out and "\x1b" not in out


def test_doctor_sees_a_gym_that_others_can_read(replayed: Path) -> None:
    Path("brain_gym.db").chmod(0o644)
    status, out, _ = run_cli("doctor")
    assert status == 1 and "BAD  modes: others can read brain_gym.db (mode 644); take their rights" in out


def test_export_writes_each_decision_with_its_evidence(replayed: Path) -> None:
    ok("label", "c1", "1", "tone=firm", "--author", "Ines")
    old = os.umask(0)
    assert ok("export", "out.jsonl") == {"decisions": 4, "file": "out.jsonl"}
    os.umask(old)
    exported = [json.loads(line) for line in Path("out.jsonl").read_text(encoding="utf-8").splitlines()]
    row = next(row for row in exported if (row["conversation_id"], row["turn"]) == ("c1", 1))
    assert [line["text"] for line in row["conversation_history"]] == ["message 0", "message 1"]
    assert row["user_message"] == "message 2" and row["readings"]["intent"]["version"] == "v0.0"
    assert [e["author"] for e in row["evidence"] if e["field"] == "tone"] == ["Ines"]
    assert stat.S_IMODE(Path("out.jsonl").stat().st_mode) == 0o600
    status, out, _ = run_cli("export", "-")
    assert status == 0 and [json.loads(line) for line in out.splitlines()] == exported


def test_an_export_that_fails_leaves_the_old_file(replayed: Path) -> None:
    Path("out.jsonl").write_text("precious", encoding="utf-8")
    with closing(sqlite3.connect("brain_gym.db")) as gym:
        gym.execute("DROP TABLE evidence")
    status, out, err = run_cli("export", "out.jsonl")
    assert (status, out) == (1, "") and err.startswith("understudy: gym brain_gym.db: no such table: evidence")
    assert Path("out.jsonl").read_text(encoding="utf-8") == "precious"
    assert sorted(path.name for path in replayed.glob("*out*")) == ["out.jsonl"]


@pytest.mark.parametrize("file", ["no/such/folder.jsonl", "/dev/null", "c.jsonl/x", "\x1b[2J/x"])
def test_an_export_that_cannot_be_written_is_one_line(replayed: Path, file: str) -> None:
    status, out, err = run_cli("export", file)
    assert (status, out) == (1, "") and len(err.splitlines()) == 1 and ": cannot be written: " in err
    assert "\x1b" not in err and not stat.S_ISREG(os.stat("/dev/null").st_mode)


def test_customers_words_cannot_steer_the_terminal(home: Path) -> None:
    hostile = "\x1b[2J\x9b31m\u202e"
    messages = [{"role": "customer", "text": hostile}]
    ok("replay", str(write(home / "c.jsonl", [recording(hostile, messages=messages)])))
    _, out, _ = run_cli("export", "-")
    assert out.strip().isprintable() and json.loads(out)["user_message"] == hostile
    for command in (("outcome", hostile + "?", "--satisfaction", "1"), ("label", hostile, "0", f"{hostile}=1")):
        status, out, err = run_cli(*command)
        assert status == 1 and err.strip().isprintable(), err


def test_outcome_closes_a_conversation(replayed: Path) -> None:
    found = ok("outcome", "c1", "--workflow-outcome", "failure", "--satisfaction", "0.25")
    assert found["decisions"] == 2 and found["faults"] == 0
    decisions = rows(Path("brain_gym.db"))["brain_decisions"]
    ended = {(d["conversation_id"], d["workflow_outcome"], d["user_satisfaction"]) for d in decisions}
    assert ended == {("c1", "failure", 0.25), ("c2", None, None)}
    assert truth("user_satisfaction", turn=1) == 0.25


def test_the_newest_label_wins_and_the_older_stay(replayed: Path) -> None:
    assert ok("label", "c1", "0", "intent=booking", "required_info=phone, service")["labelled"] == 1
    ok("label", "c1", "0", "intent=complaint", "--author", "Ines")
    assert truth("intent") == "complaint" and truth("required_info") == ["phone", "service"]
    gym = Gym(Path("brain_gym.db"))
    told = [(e["value"], e["author"]) for e in gym.evidence("c1", 0) if e["field"] == "intent"]
    gym.close()
    assert told == [("booking", None), ("complaint", "Ines")]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("c9", "0", "intent=booking"), "no conversation 'c9' in brain_gym.db; check its id and RL_GYM_DB_PATH"),
        (("c1", "2", "intent=booking"), "label.turn: conversation 'c1' has no turn 2"),
        (("c1", "9" * 60, "intent=booking"), "turn: must be a whole number from 0"),
        (("c1", "0", "intent=nonsense"), "labels.intent: Input should be 'booking', "),
        (("c1", "0", "mood=good"), "labels.mood: no module has such a field; there are "),
        (("c1", "0", "user_satisfaction=high"), "labels.user_satisfaction: Input should be a valid number; got 'high'"),
        (("c1", "0", "user_satisfaction=nan"), "labels.user_satisfaction: not plain JSON"),
        (("c\udcff", "0", "intent=booking"), "no conversation 'c\\udcff' in brain_gym.db"),
    ],
)
def test_a_wrong_label_is_one_line(replayed: Path, arguments: tuple[str, ...], says: str) -> None:
    status, out, err = run_cli("label", *arguments, "--json")
    assert status == 1 and err.startswith(f"understudy: {says}") and len(err.splitlines()) == 1
    assert json.loads(out)["labelled"] == 0 and json.loads(out)["skipped"] == 1


def test_labels_from_a_table_keep_the_good_rows(replayed: Path) -> None:
    Path("rows.csv").write_bytes(
        b"\xef\xbb\xbfconversation_id,turn,intent,reasoning,required_info\r\n"
        b'c1,0,booking,,"phone,service"\r\n'
        b"c1,0,nonsense,,\r\n"
        b"c9,0,booking,,\r\n"
        b"c1,one,booking,,\r\n"
        b"c1,7,booking,,\r\n"
        b"c1,1,,,\r\n"
        b"c1,1,booking,,,too,many\r\n"
        b"c1,1\r\n"
        b'c1,1,,"said\nin two lines",\r\n'
        b"c\xe4,1,booking,,\r\n"
        b"\r\n"
        b"c2,1,complaint,,,\r\n"
    )
    status, out, err = run_cli("label", "--file", "rows.csv", "--author", "Ines", "--json")
    found = json.loads(out)
    assert (status, found["labelled"], found["skipped"]) == (1, 3, 6)
    assert [line[: line.index(": ", 13)].removeprefix("understudy: ") for line in err.splitlines()] == [
        "rows.csv:3", "rows.csv:4", "rows.csv:5", "rows.csv:6", "rows.csv:8", "rows.csv:12"
    ]  # fmt: skip
    assert "labels.'a cell without a column': no module" in err and "no conversation 'c\\udce4'" in err
    assert truth("intent") == "booking" and truth("required_info") == ["phone", "service"]
    assert truth("reasoning", turn=1) == "said\nin two lines" and truth("intent", "c2", 1) == "complaint"


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "rows.csv:1: the columns conversation_id and turn must be there"),
        (b"conversation,turn\nc1,0\n", "rows.csv:1: the columns conversation_id and turn must be there"),
        (b"\xff\xfe\x00", "rows.csv:1: the columns conversation_id and turn must be there"),
        (b'conversation_id,turn,intent\nc1,0,booking\nc1,1,"' + b"x" * 200_000, "rows.csv:2: not CSV from here on: "),
        (None, "rows.csv: cannot be read: No such file or directory"),
    ],
)
def test_a_table_that_cannot_be_read_is_one_line(replayed: Path, content: bytes | None, says: str) -> None:
    if content is not None:
        Path("rows.csv").write_bytes(content)
    status, _, err = run_cli("label", "--file", "rows.csv")
    assert status == 1 and err.startswith(f"understudy: {says}") and len(err.splitlines()) == 1
    assert truth("intent") == ("booking" if content and b"booking" in content else None)


def test_demo_tells_the_story_in_a_gym_of_its_own(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    few = demo.BUNDLED.read_text(encoding="utf-8").splitlines(keepends=True)[:4]
    with tempfile.NamedTemporaryFile("w", suffix=".jsonl", encoding="utf-8") as file:
        file.writelines(few)
        file.flush()
        monkeypatch.setattr(demo, "BUNDLED", Path(file.name))
        old = os.umask(0)
        found = ok("demo")
        status, out, _ = run_cli("demo")  # made anew, not added to
        os.umask(old)
    assert status == 0 and "Observed 3 conversations" in out and "RL_GYM_DB_PATH=understudy-demo/demo_gym.db" in out
    assert found["observe"]["conversations"] == 3 and found["observe"]["faults"] == 0
    assert sorted(found["modules"]) == MODULES
    assert all(set(module) == {"turns", "score", "right"} for module in found["modules"].values())
    assert (found["later"]["conversations"], found["ab"], found["picture"]) == (1, {}, None)
    assert [path.name for path in home.iterdir()] == ["understudy-demo"]
    made = [home / "understudy-demo", *(home / "understudy-demo").rglob("*")]
    assert {stat.S_IMODE(path.stat().st_mode) for path in made if path.is_dir()} == {0o700}
    assert {stat.S_IMODE(path.stat().st_mode) for path in made if path.is_file()} == {0o600}


def test_demo_learns_tests_it_and_does_not_touch_ones_own_gym(replayed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GEPA_BREADTH", "1")
    monkeypatch.setenv("GEPA_DEPTH", "2")
    monkeypatch.setenv("PERSONALIZE_ENABLED", "false")
    before = Path("brain_gym.db").read_bytes()
    found = ok("demo", "--folder", "shown")
    assert Path("brain_gym.db").read_bytes() == before and not Path("optimized_modules").exists()
    assert {name: module["score"] for name, module in found["modules"].items()} == BASELINE_SCORES
    results = found["optimize"]["module_results"]
    assert results["goals"]["status"] == "published", "two proposals are enough for that"
    assert results["goals"]["score"] > results["goals"]["baseline_score"]
    tests = {name for name, result in results.items() if result["status"] in ("published", "candidate")}
    assert set(found["ab"]) == tests
    goals = found["ab"]["goals"]
    assert (goals["variant_a"], goals["variant_b"], goals["verdict"]) == ("v0.0", "v1.0", "B")
    assert 30 <= goals["sample_size"] <= 45 and goals["consequence"] == "v1.0 stays in use"
    assert "</svg>" in Path(found["picture"]).read_text(encoding="utf-8")


def test_versions_are_listed_shown_compared_and_rolled_back(
    observed: Observed, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GEPA_BREADTH", "1")
    monkeypatch.setenv("GEPA_DEPTH", "2")
    observed()
    examples = ok("dataset", "--module", "goals")
    assert examples["reason"] is None and examples["splits"]["train"]["examples"] > 20
    report = ok("optimize", "--module", "goals")
    assert report["status"] == "success" and report["optimized_count"] == 1
    assert ok("optimize", "--show", "last") == ok("optimize", "--show", report["run_id"]) == report
    status, out, _ = run_cli("optimize", "--show", "last")
    assert status == 0 and "report: optimized_modules/default/reports/" in out and "goals" in out
    assert ok("status")["since_last_optimization"] == 0 and ok("status")["modules"]["goals"] == "v1.0"
    (zero, one) = ok("versions", "goals")["versions"]
    assert (zero["version"], one["version"], one["latest"], one["status"]) == ("v0.0", "v1.0", True, "published")
    shown = ok("versions", "goals", "--show")
    assert shown["version"] == "v1.0" and shown["instruction"] and "dspy.Predict" in shown["python"]
    compared = ok("compare", "goals", "v0.0", "v1.0")
    assert compared["same_fields"] and compared["instruction_diff"].startswith("--- v0.0")
    assert (
        run_cli("compare", "goals", "v0.0", "v1.0")[0] == run_cli("versions")[0] == run_cli("versions", "goals")[0] == 0
    )
    assert ok("rollback", "goals", "v0.0") == {
        "module": "goals", "profile": "default", "before": "v1.0", "version": "v0.0",
    }  # fmt: skip
    assert ok("status")["modules"]["goals"] == "v0.0"
    for wrong, words in (
        (("rollback", "goals", "v7.0"), "there are v0.0, v1.0"),
        (("versions", "mood"), "no module 'mood'; there are conflict"),
        (("compare", "goals", "v0.0", "../x"), "version"),
        (("optimize", "--module", "mood"), "no module 'mood'"),
        (("optimize", "--profile", "nope"), "no profile 'nope'"),
        (("optimize", "--show", "nope"), "no run 'nope'"),
        (("dataset", "--module", "mood"), "no module 'mood'"),
    ):
        status, _, err = run_cli(*wrong)
        assert status == 1 and words in err and err.count("\n") == 1, (wrong, err)


@pytest.mark.parametrize(
    ("command", "teaches"),
    [
        ("replay", '"conversation_id": "dt-047"'),
        ("label", "understudy label c1 0 intent=booking"),
        ("outcome", "--workflow-outcome [success|failure|abandoned]"),
        ("export", "- is stdout"),
        ("doctor", "exit status is 1 when"),
        ("doctor", "rows that belong to no conversation are erased a latest.json that names"),
        ("backup", "RL_GYM_DB_PATH=FOLDER/brain_gym.db OPTIMIZED_MODULES_DIR=FOLDER/optimized_modules or stop"),
        ("demo", "your own gym is not touched"),
        ("status", "--json"),
    ],
)
def test_help_teaches(home: Path, command: str, teaches: str) -> None:
    status, out, err = run_cli(command, "--help")
    assert (status, err) == (0, "") and teaches in " ".join(out.split()) and "--json" in out
    assert list(home.iterdir()) == []


def test_help_names_every_command(home: Path) -> None:
    status, out, _ = run_cli("--help")
    assert status == 0
    assert tuple(line.split()[0] for line in out.split("Commands:")[1].splitlines() if line.strip()) == COMMANDS


@pytest.mark.parametrize(
    "arguments",
    [
        ("bogus",),
        ("replay",),
        ("replay", "--bogus", "x"),
        ("outcome", "c1"),
        ("outcome", "c1", "--satisfaction", "1.5"),
        ("outcome", "c1", "--workflow-outcome", "won"),
        ("label",),
        ("label", "c1"),
        ("label", "c1", "0"),
        ("label", "c1", "-1", "intent=booking"),
        ("label", "c1", "0", "intent"),
        ("label", "c1", "0", "=booking"),
        ("label", "c1", "0", "intent=booking", "--file", "rows.csv"),
        ("label", "c1", "9" * 5000, "intent=booking"),
        ("export",),
        ("export", "."),
        ("demo", "--folder", __file__),
    ],
    ids=lambda arguments: " ".join(arguments)[:40],
)
def test_wrong_usage_exits_2(home: Path, arguments: tuple[str, ...]) -> None:
    status, out, err = run_cli(*arguments)
    assert (status, out) == (2, "") and "Usage: understudy" in err and "Error: " in err
    assert list(home.iterdir()) == []


def test_a_wrong_setting_is_one_line(home: Path) -> None:
    status, out, err = run_cli("status", BRAIN_HISTORY_MESSAGES="many\x1b[2J", RL_GYM_ENABLED="perhaps")
    assert (status, out, len(err.splitlines())) == (1, "", 2)
    assert all(line.startswith("understudy: ") and line.isprintable() for line in err.splitlines())
    assert "BRAIN_HISTORY_MESSAGES='many\\x1b[2J': must be" in err and list(home.iterdir()) == []


def test_without_a_gym_a_command_says_so(home: Path) -> None:
    for command in (("status",), ("export", "-"), ("outcome", "c1", "--satisfaction", "1")):
        status, out, err = run_cli(*command, RL_GYM_ENABLED="false")
        assert (status, out) == (1, "") and err == "understudy: RL_GYM_ENABLED=false: there is no gym; set it to true\n"


@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")  # fork beside threads, from Python 3.12 on
def test_ctrl_c_keeps_what_is_written_and_says_so(home: Path) -> None:
    file = write(home / "c.jsonl", [recording(f"c{i}", turns=20) for i in range(20)])
    Gym(home / "brain_gym.db").close()
    with open("out", "w+b") as out, open("err", "w+b") as err:
        if (child := os.fork()) == 0:
            os.dup2(out.fileno(), 1)
            os.dup2(err.fileno(), 2)
            sys.stdout, sys.stderr = open(1, "w"), open(2, "w")
            sys.argv = ["understudy", "replay", str(file)]
            status = 99
            try:
                cli.main()
            except SystemExit as done:
                status = int(done.code or 0)
                sys.stderr.flush()
            finally:
                os._exit(status)
        with closing(sqlite3.connect(home / "brain_gym.db", timeout=10)) as gym:
            while gym.execute("SELECT count(*) FROM brain_decisions").fetchone()[0] < 3:
                time.sleep(0.005)
        os.kill(child, signal.SIGINT)
        _, code = os.waitpid(child, 0)
    assert (os.waitstatus_to_exitcode(code), Path("out").read_text()) == (130, "")
    said = "understudy: stopped; what is written is kept, and the same command goes on from here"
    assert Path("err").read_text().strip() == said
    found = ok("status")
    assert 3 <= found["decisions"] < 400


def test_help_shows_a_bundled_conversation_line_by_line() -> None:
    status, out, _ = run_cli("replay", "--help")
    lines = out.splitlines()
    start = next(i for i, line in enumerate(lines) if line.strip().startswith('{"conversation_id"'))
    end = next(i for i, line in enumerate(lines) if line.strip().startswith('"outcome"'))
    shown = json.loads(" ".join(line.strip() for line in lines[start : end + 1]))
    bundled = [json.loads(line) for line in demo.BUNDLED.read_text(encoding="utf-8").splitlines()]
    assert status == 0 and shown in bundled
    assert "\n    understudy demo\n" in run_cli("--help")[1]


def test_an_error_in_a_thread_quotes_nothing(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for module in (sys, threading):
        monkeypatch.setattr(module, "excepthook", module.excepthook)
    monkeypatch.setattr(sys, "argv", ["understudy", "--version"])
    with pytest.raises(SystemExit):
        cli.main()
    thread = threading.Thread(target=int, args=["a word of a customer"])
    thread.start()
    thread.join()
    said = capsys.readouterr().err
    assert "a defect of understudy, please report it: ValueError in" in said and "customer" not in said


@pytest.mark.parametrize(
    ("command", "line"),
    [
        ("optimize", "\n    published   proved better: the next turn uses it\n"),
        ("ab", "\n    understudy ab start intent --a v0.0 --b v1.0\n    understudy ab status\n"),
        ("suggestions", "\n    understudy label c1 0 was_better=true\n"),
    ],
)
def test_help_keeps_its_lines(command: str, line: str) -> None:
    status, out, _ = run_cli(command, "--help")
    assert status == 0 and line in out and "\\b" not in out
