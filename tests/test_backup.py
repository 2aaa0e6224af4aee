"""`understudy backup`: a copy that can be used at once, whoever writes meanwhile; as a whole, or not at all."""

import asyncio
import json
import os
import shutil
import sqlite3
import stat
from collections import namedtuple
from contextlib import closing
from pathlib import Path
from threading import Event, Thread
from typing import Any

import pytest
from rich.progress import Progress, TaskID

from understudy.backup import BackupError, backup
from understudy.benchmarks.prove import rows, run_cli, without_checkpoint
from understudy.checkpoints.gym import Gym
from understudy.checkpoints.versioning import ModuleVersioning
from understudy.demo import BUNDLED
from understudy.nodes.brain import Brain
from understudy.nodes.modules import PROGRAMS
from understudy.profile import load_profile
from understudy.replay import replay
from understudy.settings import Settings
from understudy.tests.disks import small_disk


def bundled(folder: Path, count: int) -> Path:
    path = folder / "some.jsonl"
    path.write_text("".join(BUNDLED.read_text(encoding="utf-8").splitlines(keepends=True)[:count]), encoding="utf-8")
    return path


def ok(*arguments: str, **environment: str) -> dict[str, Any]:
    status, out, err = run_cli(*arguments, "--json", **environment)
    assert (status, err) == (0, "")
    found: dict[str, Any] = json.loads(out)
    return found


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A gym with three conversations, two versions of a module, a report of a run, and what no backup needs."""
    folder = tmp_path_factory.mktemp("used")
    assert run_cli("replay", str(bundled(folder, 3)), RL_GYM_DB_PATH=str(folder / "brain_gym.db"))[0] == 0
    versioning = ModuleVersioning(folder / "optimized_modules", "default")
    program = PROGRAMS["intent"].program(load_profile("default"))
    for version in ("v0.0", "v1.0"):
        versioning.save_module("intent", program, version, {"metrics": {"improvement": 0.1}})
    profile = folder / "optimized_modules" / "default"
    for name in ("reports/run.html", "reports/run.123", ".runs/intent/gepa_state.bin", ".optimizing", "intent/.x.tmp"):
        (profile / name).parent.mkdir(parents=True, exist_ok=True)
        (profile / name).write_text("x")
    return folder


@pytest.fixture
def used(home: Path, template: Path) -> Path:
    shutil.copytree(template, home, dirs_exist_ok=True)
    return home


def test_folders_above_a_backup_are_their_owners_alone(used: Path) -> None:
    old = os.umask(0)
    ok("backup", "deep/er/monday")
    os.umask(old)
    assert {stat.S_IMODE(path.stat().st_mode) for path in (used / "deep", used / "deep/er")} == {0o700}


def test_a_backup_is_the_same_to_look_at(used: Path) -> None:
    (used / "copies" / "monday").mkdir(parents=True)  # one that is there and empty will do
    found = ok("backup", "copies/monday")
    copy = used / "copies" / "monday"
    there = sorted(str(path.relative_to(copy)) for path in copy.rglob("*") if path.is_file())
    day = next(used.glob("optimized_modules/default/intent/v1.0_????????.json")).stem
    assert there == sorted(
        ["brain_gym.db", "optimized_modules/default/reports/run.html"]
        + [
            f"optimized_modules/default/intent/{name}.json"
            for name in ("latest", "v0.0_baseline", "v0.0_baseline_metadata", day, f"{day}_metadata")
        ]
    )
    modes = {stat.S_IMODE(path.stat().st_mode) for path in (copy, *copy.rglob("*")) if path.is_dir()}
    assert modes == {0o700}
    assert {stat.S_IMODE((copy / name).stat().st_mode) for name in there} == {0o600}
    restored = {
        "RL_GYM_DB_PATH": str(copy / "brain_gym.db"),
        "OPTIMIZED_MODULES_DIR": str(copy / "optimized_modules"),
    }
    before, after = ok("status"), ok("status", **restored)
    assert {**after, "gym": before["gym"]} == before and before["modules"]["intent"] == "v1.0"
    assert ok("versions", **restored) == ok("versions")
    assert rows(copy / "brain_gym.db") == rows(used / "brain_gym.db")
    assert {k: found[k] for k in ("folder", "conversations", "decisions", "versions", "damaged")} == {
        "folder": "copies/monday",
        "conversations": 3,
        "decisions": before["decisions"],
        "versions": 2,
        "damaged": [],
    }


def test_a_backup_beside_a_writer_is_consistent(home: Path) -> None:
    file, begun, seen = bundled(home, 12), Event(), []

    def write() -> None:
        brain = Brain(Settings())
        seen.append(asyncio.run(replay([file], brain, lambda turns: begun.set())))
        assert brain.gym is not None
        brain.gym.close()

    writer = Thread(target=write)
    writer.start()
    assert begun.wait(60)
    for number in range(3):
        backup(Settings(), Path(f"copy{number}"))
    writer.join()
    (report,) = seen
    assert len(report.conversations) == 12 and report.lines.errors == []
    for number in range(3):
        with closing(sqlite3.connect(f"copy{number}/brain_gym.db")) as gym:
            assert gym.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
            decided = set(gym.execute("SELECT conversation_id, message_id FROM brain_decisions"))
            logged = set(gym.execute("SELECT conversation_id, message_id FROM events"))
        assert decided and decided <= logged
    # A copy of a moment goes on from there.
    ok("replay", str(file), RL_GYM_DB_PATH="copy0/brain_gym.db")
    assert rows(Path("copy0/brain_gym.db"))["brain_decisions"] == rows(Path("brain_gym.db"))["brain_decisions"]
    assert without_checkpoint(Path("copy0/brain_gym.db")) == 0


def test_a_gym_of_an_older_understudy_is_copied_as_it_is(home: Path) -> None:
    Gym(Path("brain_gym.db")).close()
    with closing(sqlite3.connect("brain_gym.db")) as gym:
        gym.executescript("DELETE FROM _sqlite_migrations WHERE name = 'm010_jobs'; DROP TABLE jobs; DROP TABLE lease")
    ok("backup", "copy")
    with closing(sqlite3.connect("copy/brain_gym.db")) as gym:
        assert gym.execute("SELECT count(*) FROM _sqlite_migrations WHERE name = 'm010_jobs'").fetchone() == (0,)


@pytest.mark.parametrize(
    ("folder", "says"),
    [
        ("full", "full: is there already; name a folder that is not there yet, or an empty one"),
        ("full/file", "full/file: is there already; name"),
        ("full/file/copy", "full/file/copy: cannot be written: File exists"),
        ("optimized_modules/copy", "optimized_modules/copy: is inside OPTIMIZED_MODULES_DIR; name a folder elsewhere"),
        ("killed", "killed.unfinished is there: another backup is at work on it, or was killed; then remove it"),
        ("/", "/: is there already; name"),
        ("bad\udcff", "bad\\udcff': is no UTF-8; name another folder"),
        ("a" * 300, "aaa: cannot be used: File name too long; name another folder"),
        ("a" * 250, "aaa: cannot be written: File name too long"),
    ],
)
def test_a_folder_that_will_not_do_is_one_line(used: Path, folder: str, says: str) -> None:
    for name in ("full", "killed.unfinished"):
        (used / name).mkdir()
    (used / "full" / "file").touch()
    status, out, err = run_cli("backup", folder)
    assert (status, out) == (1, "") and len(err.splitlines()) == 1 and says in err


def test_without_a_gym_there_is_no_backup(home: Path) -> None:
    assert run_cli("backup", "copy") == (
        1, "", "understudy: there is no gym at brain_gym.db; check RL_GYM_DB_PATH\n"
    )  # fmt: skip
    assert list(home.iterdir()) == []


def test_a_copy_that_has_no_room_is_not_begun(used: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda path: namedtuple("Usage", "free")(100_000))
    status, _, err = run_cli("backup", "copy")
    assert status == 1 and err.startswith("understudy: copy: cannot be written: ") and "0.1 MB are free" in err
    assert list(used.glob("copy*")) == []


def test_a_disk_that_fills_up_leaves_nothing(used: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda path: namedtuple("Usage", "free")(10**12))
    before = rows(used / "brain_gym.db")
    with small_disk(used / "disk", "128k") as disk:
        status, _, err = run_cli("backup", str(disk / "copy"))
        assert (status, err) == (
            1, f"understudy: {disk}/copy: cannot be written: No space left on device; nothing is left of it\n"
        )  # fmt: skip
        assert list(disk.iterdir()) == []
    assert rows(used / "brain_gym.db") == before


def test_ctrl_c_ends_it_at_once_and_leaves_nothing(used: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("understudy.checkpoints.soundness.LOOK_SECONDS", 0.001)
    with closing(sqlite3.connect("brain_gym.db")) as gym:
        gym.execute("CREATE TABLE much AS SELECT randomblob(1000000) FROM events, events AS more LIMIT 40")
    before = rows(used / "brain_gym.db")
    told: list[dict[str, Any]] = []

    def stop(progress: Progress, task: TaskID, **news: Any) -> None:
        told.append(news)
        raise KeyboardInterrupt

    monkeypatch.setattr(Progress, "update", stop)
    assert run_cli("backup", "copy") == (130, "", "understudy: stopped; nothing is left of copy\n")
    assert len(told) == 1 and told[0]["completed"] < told[0]["total"] and list(used.glob("copy*")) == []
    assert rows(used / "brain_gym.db") == before


def test_a_damaged_gym_is_told_and_leaves_nothing(used: Path) -> None:
    with (used / "brain_gym.db").open("r+b") as file:  # nothing of this process has it open
        file.seek(8192)
        file.write(b"?" * 500_000)
    status, _, err = run_cli("backup", "copy")
    assert status == 1 and err.startswith("understudy: gym brain_gym.db: ") and "understudy doctor --repair" in err
    assert list(used.glob("copy*")) == []


def test_a_damaged_program_is_copied_and_told(used: Path) -> None:
    path = next(used.glob("optimized_modules/default/intent/v1.0_????????.json"))
    path.write_text("?")
    status, out, err = run_cli("backup", "copy", "--json")
    assert status == 0 and len(json.loads(out)["damaged"]) == 1
    assert "is damaged (the program's checksum does not match); the copy is as it is" in err
    assert (used / "copy" / path.relative_to(used)).read_text() == "?"


def test_what_is_mounted_is_not_replaced(used: Path) -> None:
    with small_disk(used / "disk", "10m") as disk, pytest.raises(BackupError, match="a disk is mounted there; name"):
        backup(Settings(), disk)
