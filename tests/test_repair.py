"""`understudy doctor --repair`: what it finds, what it mends, and what it leaves as it is."""

import hashlib
import json
import os
import shutil
import sqlite3
import stat
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from understudy.benchmarks.prove import rows, run_cli
from understudy.checkpoints.trials import Ending
from understudy.checkpoints.versioning import ModuleVersioning
from understudy.demo import BUNDLED
from understudy.events import Event
from understudy.nodes.ab_life import begin, enrol
from understudy.nodes.brain import Brain
from understudy.nodes.modules import PROGRAMS
from understudy.profile import load_profile
from understudy.settings import Settings

GYM = Path("brain_gym.db")
SALVAGED = Path("brain_gym.db.salvaged")


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A gym with five conversations, and five thousand that an A/B test waits for (a table without row numbers)."""
    path = tmp_path_factory.mktemp("gym") / "brain_gym.db"
    file = path.with_name("some.jsonl")
    file.write_text("".join(BUNDLED.read_text(encoding="utf-8").splitlines(keepends=True)[:5]), encoding="utf-8")
    assert run_cli("replay", str(file), RL_GYM_DB_PATH=str(path))[0] == 0
    with closing(sqlite3.connect(path)) as gym:
        gym.executemany("INSERT INTO ab_conversations (test, conversation_id, state) VALUES ('mine', ?, 'open')",
                        [(f"c{number:04}",) for number in range(5000)])  # fmt: skip
        gym.commit()
    return path


@pytest.fixture
def used(home: Path, template: Path) -> Path:
    shutil.copy(template, GYM)
    return home


def doctor(*options: str) -> tuple[int, dict[str, Any], list[str]]:
    status, out, err = run_cli("doctor", "--json", *options)
    assert err == ""
    found = json.loads(out)
    return status, {check["name"]: check for check in found["checks"]}, found.get("repaired", [])


def write(sql: str, *values: Any) -> None:
    with closing(sqlite3.connect(GYM)) as gym:
        gym.execute(sql, values)
        gym.commit()


def read(sql: str, path: Path = GYM) -> Any:
    with closing(sqlite3.connect(path)) as gym:
        return gym.execute(sql).fetchall()


def leaves(table: str) -> list[tuple[int, int]]:
    """Return the pages that hold a table's rows, in their order, each with how many it holds."""
    found: list[tuple[int, int]] = read(
        f"SELECT pageno, ncell FROM dbstat WHERE name = '{table}' AND pagetype = 'leaf' ORDER BY path"
    )
    return found


def spoil(*numbers: int, by: bytes = b"?" * 8192) -> None:
    with GYM.open("r+b") as file:  # nothing of this process has it open
        for number in numbers:
            file.seek((number - 1) * 8192)
            file.write(by)


def fingerprint() -> str:
    return hashlib.sha256(GYM.read_bytes()).hexdigest()


def test_all_is_well(used: Path) -> None:
    before = rows(GYM)
    status, checks, mended = doctor("--repair")
    assert (status, mended) == (0, []) and rows(GYM) == before
    assert {"gym", "programs", "rows", "A/B tests", "modes"} <= checks.keys()


def test_a_look_changes_nothing(used: Path) -> None:
    write("DELETE FROM _sqlite_migrations WHERE name = (SELECT max(name) FROM _sqlite_migrations)")
    before = fingerprint()
    checks = doctor()[1]
    assert checks["gym"]["ok"] and "was made by an older understudy" in checks["gym"]["detail"]
    assert fingerprint() == before
    os.truncate(GYM, 0)
    checks = doctor()[1]
    assert "is an empty file" in checks["gym"]["detail"] and GYM.stat().st_size == 0
    assert doctor("--repair")[1]["gym"]["detail"] == "brain_gym.db is sound"


def test_damaged_indexes_are_built_anew(used: Path) -> None:
    (root,) = (page for (page,) in read("SELECT rootpage FROM sqlite_master WHERE name = 'brain_decisions_created'"))
    before = rows(GYM)
    leaf = bytearray(GYM.read_bytes()[(root - 1) * 8192 : root * 8192])
    at = leaf.rindex(b"Z")
    leaf[at - 3 : at] = b"!!!"
    spoil(root, by=bytes(leaf))
    assert doctor()[1]["gym"]["ok"]  # it looks less closely
    status, checks, (mended,) = doctor("--repair")
    assert status == 0 and checks["gym"]["detail"] == "brain_gym.db is sound" and not SALVAGED.exists()
    assert mended.startswith("the indexes of brain_gym.db were damaged (row ") and "missing from index" in mended
    assert rows(GYM) == before and read("PRAGMA integrity_check") == [("ok",)]


def test_what_can_be_read_of_a_damaged_gym_is_saved(used: Path) -> None:
    write("DELETE FROM brain_decisions WHERE rowid = 3")
    write("UPDATE decision_counts SET written = written + 7")
    before = rows(GYM)
    order = "SELECT rowid, decision_id FROM brain_decisions ORDER BY rowid"
    numbers, counted = read(order), read("SELECT * FROM decision_counts")
    lost = {
        "evidence": leaves("evidence")[2:3],
        "events": leaves("events")[1:4:2],
        "ab_conversations": leaves("ab_conversations")[3:6],
    }
    spoil(*(page for pages in lost.values() for page, _ in pages))
    damaged = fingerprint()
    status, checks, mended = doctor()
    assert status == 1 and checks["gym"]["detail"].startswith("brain_gym.db is damaged: ") and not SALVAGED.exists()
    assert "understudy doctor --repair" in checks["gym"]["detail"]
    status, checks, (mended,) = doctor("--repair")
    assert status == 1 and f"set RL_GYM_DB_PATH={SALVAGED}" in checks["gym"]["detail"]
    assert fingerprint() == damaged and stat.S_IMODE(SALVAGED.stat().st_mode) == 0o600
    after = rows(SALVAGED)
    assert after["brain_decisions"] == before["brain_decisions"] and after["answer_counts"] == before["answer_counts"]
    for table in ("evidence", "events"):
        missed = sum(count for _, count in lost[table])
        assert f"{len(before[table]) - missed} rows of {table} (missed {missed})" in mended
        assert len(after[table]) == len(before[table]) - missed and all(row in before[table] for row in after[table])
    assert read(order, SALVAGED) == numbers and read("SELECT * FROM decision_counts", SALVAGED) == counted
    waiting = [name for (name,) in read("SELECT conversation_id FROM ab_conversations ORDER BY 1", SALVAGED)]
    missed = sum(count for _, count in lost["ab_conversations"]) + 2  # and those that stand between its pages
    assert len(waiting) == 5000 - missed and f"{5000 - missed} rows of ab_conversations (missed {missed})" in mended
    assert (waiting[0], waiting[-1]) == ("c0000", "c4999")  # before and behind what is damaged
    assert f"{len(numbers) + 1} rows of checkpoints (missed 0)" in mended
    # Said again, it does not write over what was saved.
    status, checks, again = doctor("--repair")
    assert (status, again) == (1, []) and "from an earlier salvage; move it away" in checks["gym"]["detail"]
    # It can be worked with.
    GYM.unlink()
    SALVAGED.rename(GYM)
    assert doctor("--repair")[0] == 0 and run_cli("status")[0] == 0


def test_a_table_whose_root_is_damaged_costs_no_other(used: Path) -> None:
    before = rows(GYM)
    spoil(read("SELECT rootpage FROM sqlite_master WHERE name = 'evidence'")[0][0])
    _, _, (mended,) = doctor("--repair")
    assert f"0 rows of evidence (missed {len(before['evidence'])})" in mended
    assert rows(SALVAGED)["brain_decisions"] == before["brain_decisions"]


def test_a_table_that_leads_back_is_read_once(used: Path) -> None:
    """Else the same rows are read for ever."""
    before = rows(GYM)
    (first, count), *others = leaves("evidence")
    spoil(*(page for page, _ in others), by=GYM.read_bytes()[(first - 1) * 8192 : first * 8192])
    spoil(read("SELECT rootpage FROM sqlite_master WHERE name = 'decision_counts'")[0][0])
    _, _, (mended,) = doctor("--repair")
    assert f"{count} rows of evidence (missed " in mended
    assert rows(SALVAGED)["brain_decisions"] == before["brain_decisions"]


def test_a_gym_that_has_lost_its_end_is_saved_up_to_there(used: Path) -> None:
    before = rows(GYM)
    os.truncate(GYM, GYM.stat().st_size - 8192)
    damaged = fingerprint()
    status, _, (mended,) = doctor("--repair")
    assert status == 1 and fingerprint() == damaged
    after = rows(SALVAGED)
    assert {table: after[table] for table in before if after[table] != before[table]} == {}, mended


def test_damage_that_no_index_sees_is_not_taken_for_mended(used: Path) -> None:
    for run in ("r1", "r2"):
        report = json.dumps({"text": "x" * 50_000})
        write("INSERT INTO optimization_runs VALUES (?, 'default', '2026', '2026', 'success', 1, ?)", run, report)
    before = rows(GYM)
    spoil(read("SELECT pageno FROM dbstat WHERE name = 'optimization_runs' AND pagetype = 'overflow'")[0][0])
    damaged = fingerprint()
    status, _, (mended,) = doctor("--repair")
    assert status == 1 and "1 rows of optimization_runs (missed 1)" in mended and fingerprint() == damaged
    assert rows(SALVAGED) == before


def test_a_gym_without_a_beginning_is_told(used: Path) -> None:
    spoil(1, by=GYM.read_bytes()[:100] + b"?" * 8092)
    damaged = fingerprint()
    status, checks, mended = doctor("--repair")
    assert (status, mended, checks["gym"]["ok"]) == (1, [], False) and fingerprint() == damaged
    assert "not even its list of tables can be read" in checks["gym"]["detail"]
    assert not list(used.glob(f"{SALVAGED}*"))


def test_rows_that_belong_to_nothing_are_erased(used: Path) -> None:
    brain = Brain(Settings())
    enrol(brain, "mine", "default", None, "a", "b")
    begin(brain, "default", "intent", "v0.0", "v0.0", name="ours")
    assert brain.gym is not None
    brain.gym.append("nobody", [Event(kind="customer_message", text="hello")], "default")
    for test in ("mine", "ours"):
        brain.gym.trials.keep(test, "nobody", 0, {"first": "A", "ms_a": 1, "ms_b": 1, "tokens_a": 1, "tokens_b": 1})
    brain.gym.close()
    ((gone, many),) = read("SELECT conversation_id, count(*) FROM brain_decisions GROUP BY 1 LIMIT 1")
    pieces = read(f"SELECT count(*) FROM evidence WHERE conversation_id = '{gone}'")[0][0]
    write("DELETE FROM events WHERE conversation_id IN (?, 'nobody')", gone)
    write("DELETE FROM personalization_suggestions")
    write("INSERT INTO conversation_bands VALUES (1, 77)")
    write(
        "INSERT INTO dreams VALUES (1, 'd', 'default', 'c', 'replay', '[]', '[]', 'booking', '{}', 'm', 'h', x'', '')"
    )
    write("UPDATE dreams SET parents = '['")
    thread, space = read("SELECT thread_id, checkpoint_ns FROM checkpoints LIMIT 1")[0]
    for checkpoint in ("1f0c0000-0000-6000-8000-000000000000", "ffffffff-ffff-6fff-8000-000000000000"):  # old, to come
        write("INSERT INTO writes (thread_id, checkpoint_ns, checkpoint_id, task_id, idx, channel)"
              " VALUES (?, ?, ?, 't', 0, 'c')", thread, space, checkpoint)  # fmt: skip
    status, checks, _ = doctor()
    assert status == 1 and checks["rows"]["detail"] == (
        f"rows that belong to nothing (decisions of unknown conversations: {many}, evidence of unknown conversations:"
        f" {pieces}, A/B answers of unknown conversations: 1, unknown conversations that an A/B test waits for: 1,"
        " near-copies of nothing: 1, dreams that are no JSON: 1, writes without a checkpoint: 1); erase them:"
        " understudy doctor --repair"
    )
    before = rows(GYM)
    status, _, (mended,) = doctor("--repair")
    assert status == 0 and mended.startswith("rows that belonged to nothing are erased (decisions of ")
    after = rows(GYM)
    for table in ("brain_decisions", "evidence", "events"):
        assert after[table] == [row for row in before[table] if row["conversation_id"] != gone]
    assert read("SELECT test FROM ab_results") == [("mine",)] and read("SELECT count(*) FROM writes") == [(1,)]
    assert read("SELECT count(*) FROM ab_conversations") == [(5001,)]  # a caller's own are left
    assert doctor("--repair")[::2] == (0, [])


@pytest.fixture
def versions(used: Path) -> Path:
    """Versions v0.0 to v2.0 of the intent predictor, the newest in use, and its folder."""
    versioning, program = ModuleVersioning(profile="default"), PROGRAMS["intent"].program(load_profile("default"))
    for version, state in (("v0.0", "published"), ("v1.0", "published"), ("v1.1", "rejected"), ("v2.0", "published")):
        versioning.save_module("intent", program, version, {"status": state})
    return used / "optimized_modules" / "default" / "intent"


def program_of(folder: Path, version: str) -> Path:
    return next(path for path in folder.glob(f"{version}_????????.json"))


@pytest.mark.parametrize(
    ("harm", "says"),
    [
        (lambda folder: program_of(folder, "v2.0").unlink(), "no version v2.0 of 'intent'"),
        (lambda folder: program_of(folder, "v2.0").write_text("?"), "is damaged (the program's checksum does not"),
        (lambda folder: (folder / "latest.json").write_text("?"), "latest.json: is damaged (Expecting value"),
    ],
    ids=["missing", "damaged", "latest"],
)
def test_the_newest_version_that_loads_comes_into_use(versions: Path, harm: Any, says: str) -> None:
    harm(versions)
    status, checks, _ = doctor()
    assert status == 1 and says in checks["programs"]["detail"] and "understudy doctor --repair" in str(checks)
    there = {path.name for path in versions.iterdir()}
    status, checks, (mended,) = doctor("--repair")
    used = "v2.0" if "latest" in says else "v1.0"
    assert status == 0 and says in mended and mended.endswith(f"{used} is the latest now")
    versioning = ModuleVersioning(profile="default")
    assert versioning.latest("intent") == used and versioning.history("intent")[-1]["why"].startswith("repaired: ")
    aside = {"latest.json.damaged"} if "latest" in says else set()
    assert {path.name for path in versions.iterdir()} == there | aside  # nothing is erased
    assert doctor()[0] == 0


def test_a_damaged_version_that_nothing_uses_is_told_and_left(versions: Path) -> None:
    path = program_of(versions, "v1.1")
    path.write_text("?")
    status, checks, mended = doctor("--repair")
    assert (status, mended) == (0, []) and "v1.1" in checks["programs"]["detail"] and path.read_text() == "?"
    assert "nothing uses it; put it back from a backup" in checks["programs"]["detail"]


def test_a_test_of_a_version_that_does_not_load_is_ended(versions: Path) -> None:
    brain = Brain(Settings())
    begin(brain, "default", "intent", "v0.0", "v1.0", name="fine")
    assert brain.gym is not None
    brain.gym.trials.end("fine", Ending(None, "stopped by hand"))
    begin(brain, "default", "intent", "v2.0", "v1.0", name="stuck")
    enrol(brain, "mine", "default", None, "a", "b")
    program_of(versions, "v1.0").unlink()
    assert "A/B test stuck: no version v1.0" in doctor()[1]["A/B tests"]["detail"]
    status, _, (mended,) = doctor("--repair")
    assert status == 0 and mended.startswith("A/B test stuck is ended, as a version does not load (no version v1.0 of")
    ended = {trial.name: trial.reason for trial in brain.gym.trials.all() if trial.ended_at}
    assert ended.keys() == {"fine", "stuck"} and "does not load" in str(ended["stuck"])
    assert brain.gym.trials.find("stuck").consequence == "v2.0 stays in use"
    brain.gym.close()


def test_the_rights_of_others_are_taken_away(versions: Path) -> None:
    beside = Path("brain_gym.db-job")
    beside.write_text("")
    page = Path("optimized_modules/default/reports/r.html")
    page.parent.mkdir()
    page.write_text("")
    open_to_all = [GYM, beside, page, versions, versions / "latest.json", Path("optimized_modules")]
    for path in open_to_all:
        path.chmod(0o755 if path.is_dir() else 0o644)
    status, checks, _ = doctor()
    assert status == 1 and "others can read brain_gym.db (mode 644), " in checks["modes"]["detail"]
    status, _, mended = doctor("--repair")
    assert (
        status == 0 and f"{GYM}: mode 644 is now 600" in mended and f"{Path('optimized_modules')}: mode" in str(mended)
    )
    for path in (GYM, beside, *Path("optimized_modules").rglob("*")):
        assert stat.S_IMODE(path.stat().st_mode) == (0o700 if path.is_dir() else 0o600)


def test_a_folder_that_is_the_user_s_own_keeps_its_mode(versions: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPTIMIZED_MODULES_DIR", ".")
    shutil.move("optimized_modules/default", "default")
    Path("default").chmod(0o755)
    versions.parents[2].chmod(0o755)
    assert doctor("--repair")[0] == 0
    assert [stat.S_IMODE(os.stat(path).st_mode) for path in (".", "default")] == [0o755, 0o700]


def test_what_others_keep_beside_the_programs_is_left_alone(versions: Path) -> None:
    root, elsewhere = Path("optimized_modules"), Path("elsewhere")
    for name in ("ollama/blobs/latest.json", "www/html/index.json", "www/reports/page.html", "default/readme/x.json"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text("theirs")
    (elsewhere / "intent").mkdir(parents=True)
    (elsewhere / "intent" / "v0.0_baseline.json").write_text("a shelf that is put elsewhere")
    (elsewhere / "secret.txt").write_text("theirs")
    (root / "linked").symlink_to(elsewhere.absolute())
    (root / "default" / "goals").symlink_to((elsewhere / "intent").absolute())
    theirs = [path for path in (elsewhere, *elsewhere.rglob("*"), root, *root.glob("[ow]*/**/*"), root / "default")]
    for path in theirs:
        path.chmod(0o755 if path.is_dir() else 0o644)
    (versions / "latest.json").chmod(0o644)
    assert run_cli("backup", "copy")[0] == 0
    _, _, mended = doctor("--repair")
    assert mended == [f"{versions.relative_to(Path.cwd())}/latest.json: mode 644 is now 600"]
    for path in theirs:
        assert stat.S_IMODE(path.stat().st_mode) == (0o755 if path.is_dir() else 0o644), path
    copied = {str(path.parent.relative_to("copy/optimized_modules")) for path in Path("copy").glob("*/*/*/*")}
    assert copied == {"default/intent", "default/goals", "linked/intent"}  # a copy has all that is used


@pytest.mark.parametrize("kind", ["nfs4", "cifs", "9p", "fuse.sshfs", "lustre", "ext4"])
def test_a_gym_on_a_network_share_is_told(used: Path, monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    folder = used / "a share"
    folder.mkdir()
    mounts = used / "mounts"
    place = str(folder).replace(" ", "\\040")
    mounts.write_text(
        f"disk / ext4 rw 0 0\nold {place} ext4 rw 0 0\nserver:/x {place} {kind} rw 0 0\nx {used} ext4 rw 0 0\n"
    )
    monkeypatch.setattr("understudy.doctor.MOUNTS", mounts)
    monkeypatch.setenv("RL_GYM_DB_PATH", str(folder / "gym.db"))
    check = doctor()[1]["disk"]
    assert check["ok"] is (kind == "ext4")
    assert check["ok"] or (
        f"network file system ({kind})" in check["detail"] and "a disk of this machine" in check["detail"]
    )
