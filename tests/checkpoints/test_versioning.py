"""Programs on disk: what is saved comes back, and whatever happens to the files, nothing half-written is ever used."""

import json
import logging
import os
import random
import stat
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Literal

import dspy
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import Field

from understudy.checkpoints.program import signature_hash
from understudy.checkpoints.versioning import ModuleVersioning, NoVersion, VersionError
from understudy.nodes.brain import Brain
from understudy.nodes.modules import MODULES
from understudy.profile import bundled, load_profile
from understudy.state import Context

CONFLICT = MODULES["conflict"]


def program(instruction: str = "Say it.", name: str = "conflict", profile: str = "default") -> dspy.Module:
    made = MODULES[name].program(load_profile(profile))
    made.signature = made.signature.with_instructions(instruction)
    return made


def said(module: dspy.Module) -> str:
    return str(module.signature.instructions)


def folder(name: str = "conflict") -> Path:
    return Path("optimized_modules", "default", name)


def file_of(version: str, suffix: str = "") -> Path:
    (path,) = [path for path in folder().glob(f"{version}_*{suffix}.json") if suffix or "_metadata" not in path.name]
    return path


@pytest.fixture
def versioning(home: Path) -> ModuleVersioning:
    return ModuleVersioning()


# What is saved comes back


@pytest.mark.parametrize("profile", bundled())
@pytest.mark.parametrize("name", MODULES)
def test_each_module_comes_back_from_its_file_alone(home: Path, profile: str, name: str) -> None:
    saved = program("Be brief.", name, profile)
    saved.demos = [{"message": "hällo \u2028 \U0001f600", "confidence": 0.25}]
    versioning = ModuleVersioning(home, profile)
    versioning.save_module(name, saved, "v1.0", {})
    built, _ = versioning.load_module(name, "v1.0")
    filled = versioning.load_into(MODULES[name].program(load_profile(profile)), name, "v1.0")
    for loaded in (built, filled):
        assert loaded.dump_state() == saved.dump_state()
        for field, info in saved.signature.fields.items():
            again = loaded.signature.fields[field]
            assert (again.annotation, again.metadata) == (info.annotation, info.metadata)


TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=60)
LABELS = st.lists(TEXTS.filter(bool) | st.integers(0, 5), min_size=1, max_size=6, unique_by=str)
TYPES = st.one_of(
    st.sampled_from([str, int, bool, list[str], dict[str, Any], str | None, list[dict[str, int]], tuple[int, ...]]),
    LABELS.map(lambda labels: Literal[tuple(labels)]),
    LABELS.map(lambda labels: list[Literal[tuple(labels)]]),
    st.integers(0, 9).map(lambda most: Annotated[list[str], Field(max_length=most)]),
    st.floats(0, 1).map(lambda least: Annotated[float, Field(ge=least)]),
)
PLAIN = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=8,
)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(TYPES, TEXTS), min_size=2, max_size=4),
    TEXTS,
    st.lists(st.dictionaries(st.sampled_from(["field0", "field1"]), PLAIN), max_size=3),
    st.dictionaries(
        TEXTS.map("x{}".format) | st.sampled_from(["", "plain", "copy", "model_dump", "note"]), PLAIN, max_size=3
    ),
    st.sampled_from([dspy.Predict, dspy.ChainOfThought]),
)
def test_any_program_and_any_metadata_come_back(
    fields: Any, instruction: str, demos: Any, metadata: Any, kind: Callable[..., Any]
) -> None:
    made = {
        f"field{n}": (type_, (dspy.OutputField if n else dspy.InputField)(desc=desc))
        for n, (type_, desc) in enumerate(fields)
    }
    saved = kind(dspy.Signature(made, instruction or "-"))
    saved.predictors()[0].demos = demos
    with tempfile.TemporaryDirectory() as home:
        versioning = ModuleVersioning(home, "default")
        versioning.save_module("mine", saved, "v1.0", metadata)
        loaded, known = versioning.load_module("mine")
    assert loaded.dump_state() == saved.dump_state() and type(loaded) is kind
    assert signature_hash(loaded) == signature_hash(saved)
    assert {name: known[name] for name in metadata} == metadata


def test_labels_may_hold_what_dspy_reads_as_an_arrow_or_a_quote(versioning: ModuleVersioning) -> None:
    labels = ("a -> b", "it's", 'say "x"', "line\nbreak", "back\\slash", "[x], y: str")
    made = {"a": (str, dspy.InputField()), "b": (list[Literal[labels]], dspy.OutputField())}
    versioning.save_module("mine", dspy.Predict(dspy.Signature(made, "x")), "v1.0", {})
    assert versioning.load_module("mine")[0].signature.output_fields["b"].annotation == list[Literal[labels]]


def test_without_arguments_folder_and_profile_are_those_of_the_settings(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPTIMIZED_MODULES_DIR", "elsewhere")
    monkeypatch.setenv("BRAIN_PROFILE", "star")
    versioning = ModuleVersioning()
    path = versioning.save_module(
        "conflict", program(), "v1.0", {"metrics": {"val_score": 0.5, "mine": [1]}, "note": "x"}
    )
    module, metadata = versioning.load_module("conflict", "latest")
    assert path.parent == Path("elsewhere/star/conflict") and said(module) == "Say it."
    known = {"version": "v1.0", "module": "conflict", "profile": "star", "status": "published", "note": "x"}
    assert known.items() <= metadata.items() and metadata["metrics"] == {"val_score": 0.5, "mine": [1]}
    assert all(metadata[name] for name in ("created_at", "checksum", "signature_hash", "instruction_hash"))
    versioning.save_module("conflict", program(), "v1.1", {**metadata, "metadata_checksum": "of another version"})
    assert versioning.load_module("conflict", "v1.1")[1]["note"] == "x"


def test_the_files_have_their_names_and_are_for_the_owner_only(versioning: ModuleVersioning) -> None:
    old = os.umask(0)
    try:
        versioning.save_module("conflict", program(), "v0.0", {})
        versioning.save_module("conflict", program("Better."), "v1.0", {})
    finally:
        os.umask(old)
    day = time.strftime("%Y%m%d", time.gmtime())
    stems = ["v0.0_baseline", f"v1.0_{day}"]
    names = {f"{stem}{end}.json" for stem in stems for end in ("", "_metadata")} | {"latest.json", ".lock"}
    assert {path.name for path in folder().iterdir()} == names
    assert {stat.S_IMODE(path.stat().st_mode) for path in folder().iterdir()} == {0o600}
    assert {stat.S_IMODE(path.stat().st_mode) for path in [folder(), *folder().parents][:3]} == {0o700}


def test_a_program_is_saved_without_the_model_it_was_bound_to(versioning: ModuleVersioning) -> None:
    made = program()
    made.lm = dspy.LM("openai/x", api_base="http://localhost:1", api_key="sk-secret")
    text = versioning.save_module("conflict", made, "v1.0", {}).read_text()
    assert "localhost:1" not in text and "secret" not in text and versioning.load_module("conflict")[0].lm is None


class Two(dspy.Module):
    """Two predictors: DSPy alone cannot build it from a file."""

    def __init__(self) -> None:
        super().__init__()
        self.first = dspy.Predict("question -> thought")
        self.second = dspy.Predict("thought -> answer")


def test_a_program_with_code_of_its_own_is_loaded_into_a_fresh_one(versioning: ModuleVersioning) -> None:
    made = Two()
    made.second.signature = made.second.signature.with_instructions("Answer well.")
    versioning.save_module("two", made, "v1.0", {})
    assert said(versioning.load_into(Two(), "two", "latest").second) == "Answer well."
    assert "[second]\nAnswer well." in versioning.shown("two")["instruction"]
    with pytest.raises(VersionError, match=r"Two with code or types of its own; make a fresh one for load_into\(\)"):
        versioning.load_module("two", "v1.0")


# Names and values that are refused


BAD_NAMES = ["..", "../x", "a/b", "/etc", "A", "a b", "a\n", "x" * 41, "a\x00", "ä", "."]


@pytest.mark.parametrize("name", ["", *BAD_NAMES])
@pytest.mark.parametrize("call", ["save", "load", "list", "rollback", "latest"])
def test_no_name_leads_out_of_the_folder(versioning: ModuleVersioning, home: Path, name: str, call: str) -> None:
    calls: dict[str, Callable[[ModuleVersioning, str], Any]] = {
        "save": lambda some, module: some.save_module(module, program(), "v1.0", {}),
        "load": lambda some, module: some.load_module(module, "v1.0"),
        "list": lambda some, module: some.list_versions(module),
        "rollback": lambda some, module: some.rollback(module, "v0.0"),
        "latest": lambda some, module: some.latest(module),
    }
    with pytest.raises(VersionError, match="named by 1 to 40 of a-z, 0-9 and _"):
        calls[call](versioning, name)
    if name:
        with pytest.raises(VersionError, match="named by"):
            calls[call](ModuleVersioning(home, name), "conflict")
    assert list(home.iterdir()) == []


@pytest.mark.parametrize(
    "version", ["", "1.0", "v1", "v1.0.0", "v1.0/../..", "v1.0\n", "v01.0", "v1.٣", "V1.0", "v1.-1", "*"]
)
def test_no_version_is_a_path(versioning: ModuleVersioning, version: str) -> None:
    versioning.save_module("conflict", program(), "v1.0", {})
    for call in (versioning.load_module, versioning.rollback, versioning.publish, versioning.reject, versioning.shown):
        with pytest.raises(VersionError, match=r"must be of the form v1\.0"):
            call("conflict", version)
    with pytest.raises(VersionError, match=r"must be of the form v1\.0"):
        versioning.save_module("conflict", program(), version, {})
    assert len(list(folder().iterdir())) == 4


@pytest.mark.parametrize(
    ("metadata", "message"),
    [
        ({"metrics": {"val_score": float("nan")}}, r"metadata\.metrics\.val_score: nan is no JSON number"),
        ({"mine": [1, {"a": float("inf")}]}, r"metadata\.mine\[1\]\.a: inf is no JSON number"),
        ({"at": Path("x")}, r"metadata\.at: a PosixPath is no JSON value"),
        ({1: 2}, "metadata: the key 1 is no text"),
        ({"a": "\ud800"}, r"metadata\.a: half a character"),
        ({"a": 2**64}, r"metadata\.a: a whole number beyond 64 bits"),
        ({"status": "great"}, "metadata of conflict v1.0: status: Input should be 'published'"),
        ({"metrics": {"interval": [0.1]}}, r"metrics\.interval"),
        ({"sizes": {"train": "many"}}, r"sizes\.train"),
        ({"a": json.loads("[" * 70 + "]" * 70)}, "more than 60 levels"),
    ],
)
def test_metadata_that_are_no_json_are_refused_by_name(
    versioning: ModuleVersioning, metadata: Any, message: str
) -> None:
    with pytest.raises(VersionError, match=message):
        versioning.save_module("conflict", program(), "v1.0", metadata)
    assert versioning.list_versions("conflict") == ["v0.0"]


def test_a_program_that_is_no_json_is_refused(versioning: ModuleVersioning) -> None:
    made = program()
    made.demos = [{"message": float("nan")}]
    with pytest.raises(VersionError, match=r"program\.demos\[0\]\.message: nan"):
        versioning.save_module("conflict", made, "v1.0", {})
    made.demos = [{"message": "\ud83d"}]
    with pytest.raises(VersionError, match="half a character"):
        versioning.save_module("conflict", made, "v1.0", {})
    with pytest.raises(VersionError, match="cannot be saved"):
        versioning.save_module("conflict", object(), "v1.0", {})


def test_a_folder_that_cannot_be_written_is_named(home: Path) -> None:
    Path("file").write_text("")
    with pytest.raises(VersionError, match="file/default/conflict: cannot be written to"):
        ModuleVersioning("file").save_module("conflict", program(), "v1.0", {})
    assert ModuleVersioning("file").latest("conflict") == "v0.0"


# Numbers, the latest, rollback, pruning


def test_numbers_follow_the_fields_and_labels(versioning: ModuleVersioning) -> None:
    star = program(profile="star", name="intent")
    for made, number in [
        (program(name="intent"), "v1.0"),
        (program("Other words.", name="intent"), "v1.1"),
        (star, "v2.0"),
        (star, "v2.1"),
        (program(name="intent"), "v3.0"),
    ]:
        assert versioning.save_next("intent", made, {}) == number == versioning.latest("intent")
    assert versioning.list_versions("intent") == ["v0.0", "v1.0", "v1.1", "v2.0", "v2.1", "v3.0"]
    assert versioning.next_version("intent", signature_hash(star)) == "v4.0"


def test_the_order_of_labels_is_no_change_but_bounds_and_inputs_are() -> None:
    def of(**fields: Any) -> str:
        made = {"a": (str, dspy.InputField()), "b": (str, dspy.OutputField())}
        made |= {name: (type_, dspy.OutputField()) for name, type_ in fields.items()}
        return signature_hash(dspy.Predict(dspy.Signature(made, "x")))

    assert of(c=Literal["x", "y"]) == of(c=Literal["y", "x"]) != of(c=Literal["x"])
    assert of(c=list[str]) != of(c=Annotated[list[str], Field(max_length=3)])
    moved = dspy.Signature(
        {"a": (str, dspy.InputField()), "b": (str, dspy.InputField()), "c": (str, dspy.OutputField())}
    )
    assert signature_hash(dspy.Predict(moved)) != of(c=str)


def test_a_number_is_taken_once(versioning: ModuleVersioning) -> None:
    versioning.save_module("conflict", program(), "v1.0", {})
    with pytest.raises(VersionError, match=r"version v1\.0 of 'conflict' is there already; there are v0\.0, v1\.0"):
        versioning.save_module("conflict", program("Other."), "v1.0", {})
    assert said(versioning.load_module("conflict", "v1.0")[0]) == "Say it."


def test_only_the_baseline_may_be_saved_again_and_moves_nothing(versioning: ModuleVersioning) -> None:
    with pytest.raises(NoVersion, match=r"is the baseline in the code .* understudy\.load_module\('conflict'"):
        versioning.load_module("conflict", "latest")
    for words in ("Old.", "New."):
        versioning.save_module("conflict", program(words), "v0.0", {})
    assert said(versioning.load_module("conflict", "latest")[0]) == "New." and versioning.history("conflict") == []


def test_a_candidate_waits_until_it_is_published(versioning: ModuleVersioning) -> None:
    versioning.save_module("conflict", program("First."), "v1.0", {})
    versioning.save_module("conflict", program("Second."), "v1.1", {"status": "candidate"})
    assert versioning.latest("conflict") == "v1.0"
    versioning.publish("conflict", "v1.1", why="won the test")
    module, metadata = versioning.load_module("conflict", "latest")
    assert (said(module), metadata["version"], metadata["status"]) == ("Second.", "v1.1", "published")
    moves = [(move["version"], move["why"]) for move in versioning.history("conflict")]
    assert moves == [("v1.0", "saved"), ("v1.1", "won the test")]
    with pytest.raises(VersionError, match="roll back to another version first"):
        versioning.reject("conflict", "v1.1")


def test_rollback_goes_to_a_version_that_exists_and_is_whole(versioning: ModuleVersioning) -> None:
    for version in ("v1.0", "v1.1", "v1.2"):
        versioning.save_module("conflict", program(version), version, {})
    versioning.rollback("conflict", "v1.0")
    module, metadata = versioning.load_module("conflict")
    assert said(module) == metadata["version"] == "v1.0"
    with pytest.raises(NoVersion, match=r"^no version v1\.3 of 'conflict'; there are v0\.0, v1\.0, v1\.1, v1\.2$"):
        versioning.rollback("conflict", "v1.3")
    file_of("v1.1").write_text("{")
    with pytest.raises(VersionError, match=r"v1\.1_.*is damaged .*; there are v0\.0, v1\.0, v1\.2"):
        versioning.rollback("conflict", "v1.1")
    assert versioning.latest("conflict") == "v1.0"
    versioning.rollback("conflict", "v0.0")
    assert versioning.latest("conflict") == "v0.0"


def test_a_rollback_to_the_baseline_is_not_undone_for_want_of_its_file(versioning: ModuleVersioning) -> None:
    for version in ("v1.0", "v1.1"):
        versioning.save_module("conflict", program(version), version, {})
    versioning.rollback("conflict", "v0.0")
    with pytest.raises(NoVersion, match="is the baseline in the code"):
        versioning.load_module("conflict", "latest")


def test_the_history_of_moves_is_bounded(versioning: ModuleVersioning) -> None:
    for version in ("v1.0", "v1.1"):
        versioning.save_module("conflict", program(), version, {})
    for number in range(110):
        versioning.publish("conflict", f"v1.{number % 2}", why=str(number))
    assert [move["why"] for move in versioning.history("conflict")] == [str(n) for n in range(10, 110)]


def test_the_last_five_are_kept_and_what_is_in_use(versioning: ModuleVersioning) -> None:
    versioning.save_module("conflict", program(), "v0.0", {})
    versioning.save_module("conflict", program(), "v1.0", {})
    versioning.save_module("conflict", program(), "v1.1", {"status": "candidate"}, keep=["v1.1"])
    for number in range(2, 12):
        versioning.save_module("conflict", program(), f"v1.{number}", {"status": "candidate"}, keep=["v1.1"])
    kept = ["v0.0", "v1.0", "v1.1", *(f"v1.{number}" for number in range(7, 12))]
    assert versioning.list_versions("conflict") == kept
    assert len(list(folder().glob("*_metadata.json"))) == len(kept)
    versioning.save_module("conflict", program(), "v1.12", {})
    assert versioning.list_versions("conflict") == ["v0.0", *(f"v1.{number}" for number in range(8, 13))]


def test_a_writer_removes_what_a_killed_one_left_the_day_before(versioning: ModuleVersioning) -> None:
    versioning.save_module("conflict", program(), "v1.0", {})
    left = [folder() / name for name in (".old.tmp", "v1.1_20200101_metadata.json", ".new.tmp", "mine.txt")]
    for path in left:
        path.write_text("{")
        if path.name != ".new.tmp":
            os.utime(path, (0, 0))
    versioning.save_module("conflict", program(), "v1.1", {})
    assert [path.name for path in left if path.exists()] == [".new.tmp", "mine.txt"]
    assert versioning.list_versions("conflict") == ["v0.0", "v1.0", "v1.1"]


# Damage


def spoil(path: Path, how: str, rng: random.Random) -> None:
    """Damage a file so that it is not what was written."""
    data = path.read_bytes()
    at = rng.randrange(len(data))
    spoilt = {
        "cut": data[:at],
        "flip": data[:at] + bytes([data[at] ^ 1 << rng.randrange(8)]) + data[at + 1 :],
        "other": b'{"version": "v1.0", "signature": {"instructions": "x", "fields": []}, "demos": [], "lm": null}',
        "list": b"[]",
        "deep": b"[" * 100_000,
        "zeros": bytes(len(data)),
    }[how]
    path.write_bytes(spoilt)


@pytest.mark.parametrize("suffix", ["", "_metadata"])
@pytest.mark.parametrize("how", ["cut", "flip", "other", "list", "deep", "zeros", "gone"])
def test_a_damaged_version_does_not_exist_and_the_newest_whole_one_is_used(
    versioning: ModuleVersioning, caplog: pytest.LogCaptureFixture, how: str, suffix: str
) -> None:
    for version in ("v1.0", "v1.1"):
        versioning.save_module("conflict", program(version), version, {"metrics": {"val_score": 0.5}, "note": "x"})
    path, rng = file_of("v1.1", suffix), random.Random(how)
    metadata = versioning.load_module("conflict", "v1.1")[1]
    whole = path.read_bytes()
    for _ in range(40 if how in ("cut", "flip") else 1):
        caplog.clear()
        path.unlink() if how == "gone" else spoil(path, how, rng)
        fresh = ModuleVersioning()
        if how == "flip" and fresh.list_versions("conflict")[-1] == "v1.1":
            # Only the name of the checksum itself was hit: everything else is as it was.
            assert suffix and fresh.load_module("conflict")[1].items() >= metadata.items()
            path.write_bytes(whole)
            continue
        assert fresh.list_versions("conflict") == ["v0.0", "v1.0"]
        assert said(fresh.load_module("conflict", "latest")[0]) == "v1.0"
        (record,) = caplog.records
        assert "conflict v1.1 cannot be loaded: " in record.message and record.message.endswith("; v1.0 is used")
        assert "\n" not in record.message
        path.write_bytes(whole)


@pytest.mark.parametrize("how", ["cut", "flip", "list", "deep", "zeros", "gone", "other"])
def test_a_damaged_pointer_leaves_the_newest_published(
    versioning: ModuleVersioning, caplog: pytest.LogCaptureFixture, how: str
) -> None:
    versioning.save_module("conflict", program(), "v1.0", {})
    versioning.save_module("conflict", program(), "v1.1", {})
    versioning.save_module("conflict", program(), "v1.2", {"status": "candidate"})
    path, rng = folder() / "latest.json", random.Random(how)
    whole = path.read_bytes()
    for _ in range(40 if how in ("cut", "flip") else 1):
        caplog.clear()
        path.unlink() if how == "gone" else spoil(path, how, rng)
        if how == "other":
            assert ModuleVersioning().latest("conflict") == "v1.0"  # without a checksum a hand has written it
            continue
        assert versioning.latest("conflict") == ModuleVersioning().latest("conflict") == "v1.1"
        assert versioning.load_module("conflict")[1]["version"] == "v1.1"
        path.write_bytes(whole)
    if how != "other":
        assert all("the newest published version, v1.1, is used" in record.message for record in caplog.records)


def test_a_version_of_another_module_or_profile_is_not_taken_for_ours(versioning: ModuleVersioning) -> None:
    versioning.save_module("intent", program(name="intent"), "v1.0", {})
    folder().parent.joinpath("intent").rename(folder())
    with pytest.raises(VersionError, match=r"it is v1\.0 of intent for the profile default"):
        versioning.load_module("conflict", "v1.0")


def test_a_version_for_other_labels_is_not_loaded(versioning: ModuleVersioning) -> None:
    versioning.save_module("intent", program(name="intent", profile="star"), "v1.0", {})
    with pytest.raises(VersionError, match=r"v1\.0_.*: was made for other fields or labels than 'intent' has now"):
        versioning.load_into(program(name="intent"), "intent", "v1.0")


# The shadow


def turn(brain: Brain) -> tuple[str, str]:
    """Return the version that a new turn reads with, and its instruction."""
    version = brain.version(CONFLICT, "default", Context())
    return version, said(brain.program(CONFLICT, "default", version))


def test_a_new_version_is_seen_on_the_next_turn(brain: Brain) -> None:
    other_process = ModuleVersioning()
    assert turn(brain)[0] == "v0.0"
    other_process.save_module("conflict", program("One."), "v1.0", {})
    assert turn(brain) == ("v1.0", "One.")
    other_process.save_module("conflict", program("Two."), "v1.1", {})
    assert turn(brain) == ("v1.1", "Two.")
    other_process.rollback("conflict", "v1.0")
    assert turn(brain) == ("v1.0", "One.")
    assert brain.program(CONFLICT, "default", "v1.0") is brain.program(CONFLICT, "default", "v1.0")


def test_a_damaged_version_is_told_once_and_used_again_when_repaired(
    brain: Brain, caplog: pytest.LogCaptureFixture
) -> None:
    versioning = ModuleVersioning()
    versioning.save_module("conflict", program("One."), "v1.0", {})
    versioning.save_module("conflict", program("Two."), "v1.1", {})
    path = file_of("v1.1")
    whole = path.read_bytes()
    path.write_bytes(whole[:100])
    for _ in range(3):
        assert turn(brain) == ("v1.0", "One.")
    assert len(caplog.records) == 1 and caplog.records[0].levelno == logging.WARNING
    path.write_bytes(whole)
    assert turn(brain) == ("v1.1", "Two.")
    path.write_bytes(whole[:100])
    assert turn(brain) == ("v1.0", "One.") and len(caplog.records) == 2


def test_what_was_rolled_back_does_not_stand_in_for_a_damaged_one(brain: Brain) -> None:
    versioning = ModuleVersioning()
    for version in ("v1.0", "v1.1", "v1.2"):
        versioning.save_module("conflict", program(version), version, {})
    versioning.rollback("conflict", "v1.1")
    file_of("v1.1").unlink()
    assert turn(brain) == ("v1.0", "v1.0")


def test_a_version_for_labels_of_before_leaves_the_baseline(brain: Brain, caplog: pytest.LogCaptureFixture) -> None:
    ModuleVersioning().save_module("intent", program("Old.", "intent", "star"), "v1.0", {})
    assert brain.version(MODULES["intent"], "default", Context()) == "v0.0"
    (record,) = caplog.records
    assert "was made for other fields or labels" in record.message and record.message.endswith("v0.0 is used")


def test_a_run_can_ask_for_a_candidate_and_for_what_is_not_there(brain: Brain) -> None:
    ModuleVersioning().save_module("conflict", program("One."), "v1.0", {"status": "candidate"})
    assert brain.version(CONFLICT, "default", Context(versions={"conflict": "v1.0"})) == "v1.0"
    assert said(brain.program(CONFLICT, "default", "v1.0")) == "One." and turn(brain)[0] == "v0.0"
    for version in ("v7.7", "../x", "v1.0/.."):
        assert brain.version(CONFLICT, "default", Context(versions={"conflict": version})) == version
        depths = set()
        for _ in range(3):
            with pytest.raises(VersionError) as caught:
                brain.program(CONFLICT, "default", version)
            depths.add(len(traceback.extract_tb(caught.tb)))
        assert len(depths) == 1


def test_a_run_that_another_process_began_loads_what_it_needs(brain: Brain) -> None:
    ModuleVersioning().save_module("conflict", program("One."), "v1.0", {})
    assert said(brain.program(CONFLICT, "default", "v1.0")) == "One."


# Comparison, and what there is to see


def test_two_versions_side_by_side(versioning: ModuleVersioning) -> None:
    metrics = {"val_score": 0.5, "interval": [0.1, 0.2]}
    versioning.save_module("intent", program("Same.\nOld.", "intent"), "v1.0", {"metrics": metrics})
    versioning.save_module(
        "intent", program("Same.\nNew.", "intent"), "v1.1", {"metrics": {"val_score": 0.75, "own": 1}}
    )
    versioning.save_module(
        "intent", program("Same.", "intent", "star"), "v2.0", {"metrics": metrics, "metric_version": 2}
    )
    found = versioning.compare_versions("intent", "v1.0", "v1.1")
    assert json.loads(json.dumps(found, allow_nan=False)) == found
    assert (found["a"]["version"], found["b"]["version"], found["same_fields"]) == ("v1.0", "v1.1", True)
    assert found["metrics"]["val_score"] == {"a": 0.5, "b": 0.75, "difference": 0.25}
    assert found["metrics"]["own"] == {"a": None, "b": 1, "difference": None}
    assert found["instruction_diff"].splitlines()[-3:] == [" Same.", "-Old.", "+New."]
    found = versioning.compare_versions("intent", "v1.0", "latest")
    assert found["same_fields"] is False and found["metrics"]["val_score"]["difference"] is None


def test_the_three_lines_run_with_nothing_but_dspy(versioning: ModuleVersioning, home: Path) -> None:
    saved = program("Quote \"me\" and 'me'.", "intent")
    versioning.save_module("intent", saved, "v1.0", {})
    shown = versioning.shown("intent", "v1.0")
    assert shown["instruction"] == said(saved) and len(shown["python"].splitlines()) == 3
    code = f"import sys; sys.modules['understudy'] = None\n{shown['python']}\n"
    code += "print(program.signature.instructions, program.signature.output_fields['intent'].annotation)\n"
    code += "print(program.signature.output_fields['confidence'].metadata)"
    (home / "apart").mkdir()
    ran = subprocess.run([sys.executable, "-c", code], cwd=home / "apart", capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
    labels = saved.signature.output_fields["intent"].annotation
    assert ran.stdout.splitlines() == [f"{said(saved)} {labels}", "[Ge(ge=0), Le(le=1)]"]


# Killed writers, and two at a time

SCRIPT = """
import logging, os, random, signal, sys, time
import dspy
from understudy.checkpoints.versioning import ModuleVersioning

KILL_POINTS = ("replace", "fsync", "unlink", "mkdir", "open")

def program(words):
    return dspy.Predict(dspy.Signature("message -> answer: str", words * 200))

def forked(work):
    pid = os.fork()
    if pid == 0:
        try:
            work()
        finally:
            os._exit(0)
    return pid

def killed(pid):
    return os.WIFSIGNALED(os.waitpid(pid, 0)[1])

def save_and_die(at, version):
    # Take part in a save and be killed just before the system call of that number.
    calls = 0
    def counting(real):
        def call(*args, **kwargs):
            nonlocal calls
            calls += 1
            if calls == at:
                os.kill(os.getpid(), signal.SIGKILL)
            return real(*args, **kwargs)
        return call
    for name in KILL_POINTS:
        setattr(os, name, counting(getattr(os, name)))
    saved = program(f"call {at} ")
    ModuleVersioning().save_module("m", saved, version, {}) if version else ModuleVersioning().save_next("m", saved, {})

def save_for_ever():
    while True:
        ModuleVersioning().save_next("m", program("loop "), {})

def check():
    versioning = ModuleVersioning()
    _, metadata = versioning.load_module("m", "latest")
    assert metadata["version"] == versioning.latest("m"), (metadata, versioning.latest("m"))
    for version in versioning.list_versions("m")[1:]:
        assert versioning.load_module("m", version)[1]["version"] == version
    files = [n for n in os.listdir("optimized_modules/default/m") if n.endswith(".json") and n[0] == "v"]
    programs = {n for n in files if "_metadata" not in n}
    versions = {n.split("_")[0] for n in programs}
    assert versions | {"v0.0"} == set(versioning.list_versions("m")), files
    return versions

def kill_everywhere():
    ModuleVersioning().save_module("m", program("first "), "v1.0", {})
    points = []
    for version in (None, "v0.0"):
        at, alive = 0, False
        while not alive:
            at += 1
            if version:
                ModuleVersioning().save_module("m", program("old "), version, {})
            alive = not killed(forked(lambda: save_and_die(at, version)))
            if "v0.0" in check():
                ModuleVersioning().load_module("m", "v0.0")
        points.append(at)
    rng = random.Random(0)
    for _ in range(20):
        pid = forked(save_for_ever)
        time.sleep(rng.uniform(0.001, 0.04))
        os.kill(pid, signal.SIGKILL)
        assert killed(pid)
        check()
    print(*points)

def two_at_once():
    logging.getLogger("understudy").addHandler(Told())
    ModuleVersioning().save_module("m", program("first "), "v1.0", {})
    def work(name):
        for number in range(15):
            with open(f"{name}.txt", "a") as file:
                print(ModuleVersioning().save_next("m", program(f"{name} {number} "), {}), file=file)
    pids = [forked(lambda: work("a")), forked(lambda: work("b"))]
    seen = []
    while os.waitpid(pids[0], os.WNOHANG)[0] == 0:
        seen.append(ModuleVersioning().load_module("m")[1]["version"])
        assert ModuleVersioning().list_versions("m")[1:]
    os.waitpid(pids[1], 0)
    check()
    numbers = [int(version.split(".")[1]) for version in seen]
    assert numbers == sorted(numbers) and len(set(numbers)) > 3, numbers
    print(*sorted(open("a.txt").read().split() + open("b.txt").read().split()))

class Told(logging.Handler):
    def emit(self, record):
        raise AssertionError(record.getMessage())

globals()[sys.argv[1]]()
"""


def run(what: str) -> list[str]:
    ran = subprocess.run([sys.executable, "-c", SCRIPT, what], capture_output=True, text=True, timeout=60)
    assert ran.returncode == 0, ran.stderr
    return ran.stdout.split()


def test_a_kill_at_any_moment_leaves_whole_versions_and_a_latest(home: Path) -> None:
    assert all(int(points) > 12 for points in run("kill_everywhere"))


def test_what_others_save_while_it_is_loaded_is_loaded_instead(
    versioning: ModuleVersioning, caplog: pytest.LogCaptureFixture
) -> None:
    versioning.save_module("conflict", program("first"), "v1.0", {})

    def load(version: str) -> str:
        if version == "v1.0":
            for number in range(1, 8):
                versioning.save_module("conflict", program(f"number {number}"), f"v1.{number}", {})
        return said(versioning.load_module("conflict", version)[0])

    assert versioning.usable("conflict", load) == ("v1.7", "number 7") and caplog.records == []


def test_two_processes_save_at_once(home: Path) -> None:
    assert run("two_at_once") == sorted(f"v1.{number}" for number in range(1, 31))
    versioning = ModuleVersioning()
    assert versioning.list_versions("m") == ["v0.0", *(f"v1.{number}" for number in range(26, 31))]
    assert versioning.latest("m") == "v1.30" and len(versioning.history("m")) == 31
