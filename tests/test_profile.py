"""The profiles: the bundled ones load, a user's own loads by path and by name, a broken one says what is wrong."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from understudy.nodes.brain import Brain
from understudy.profile import Profile, ProfileError, bundled, load_profile, registered_profile
from understudy.settings import Settings

BIKES = """
name = "bikes"
title = "A bicycle shop"
ready_at = 0.9
tones = ["friendly", "firm"]

[intents.repair]
description = "wants a bicycle repaired"
required = ["bike", "damage", "day"]

[intents.sale]
description = "wants to buy something"
required = ["bike"]

[intents.other]

[next_steps]
ask_bike = "ask which bicycle it is"
offer_day = "name a free day"
close = "say goodbye"

[goals]
get_repair = "have the bicycle repaired"
get_price = "know what it costs"

[data]
bike = "kind or brand of the bicycle"
damage = "what is broken"
day = "day that suits"
"""


@pytest.fixture
def bikes(home: Path) -> Path:
    path = home / "bikes.toml"
    path.write_text(BIKES, encoding="utf-8")
    return path


def broken(path: Path | str) -> list[str]:
    with pytest.raises(ProfileError) as error:
        load_profile(str(path))
    return str(error.value).split("\n")


# Good ones


def test_the_bundled_ones_are_these() -> None:
    assert bundled() == ("airline", "default", "retail", "star")


@pytest.mark.parametrize("name", ["airline", "default", "retail", "star"])
def test_a_bundled_profile_loads_with_all_it_promises(name: str) -> None:
    profile = load_profile(name)
    assert profile.name == name
    assert profile.title
    fields = {"conflict_type", "intent", "next_step", "main_goal", "sub_goals", "required_info", "tone"}
    assert set(profile.labels) | {"main_goal", "sub_goals"} == fields
    assert "none" in profile.conflict_types
    for labels in profile.labels.values():
        assert len(set(labels)) == len(labels)
    told = {**profile.next_steps, **profile.goals, **{k: v.description for k, v in profile.intents.items()}}
    assert [label for label, meaning in told.items() if not meaning] == []


def test_the_labels_of_the_default_profile_are_those_of_the_design() -> None:
    labels = load_profile("default").labels
    assert labels["intent"] == ("booking", "modification", "inquiry", "complaint", "cancellation", "unclear")
    assert labels["tone"] == ("friendly", "professional", "empathetic", "firm")
    assert labels["conflict_type"] == ("frustration", "confusion", "bargaining", "off_topic", "cancellation", "none")


@pytest.mark.parametrize("write", [str, lambda path: path.name], ids=["absolute", "relative"])
def test_an_own_profile_loads_by_its_path(bikes: Path, write: Callable[[Path], str]) -> None:
    profile = load_profile(write(bikes))
    assert profile.labels == {
        "conflict_type": load_profile("default").labels["conflict_type"],
        "intent": ("repair", "sale", "other"),
        "next_step": ("ask_bike", "offer_day", "close"),
        "main_goal": ("get_repair", "get_price"),
        "sub_goals": ("get_repair", "get_price"),
        "required_info": ("bike", "damage", "day"),
        "tone": ("friendly", "firm"),
    }
    assert profile.intents["repair"].required == ("bike", "damage", "day")
    assert profile.ready_at == 0.9


def test_an_own_profile_loads_by_its_name_when_brain_profile_points_at_it(
    bikes: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BRAIN_PROFILE", str(bikes))
    brain = Brain(Settings())
    assert brain.profile("bikes") == brain.profile(None) == load_profile(str(bikes))
    assert brain.profile("star").name == "star"
    assert registered_profile("bikes", "bikes.toml").name == "bikes"
    with pytest.raises(ProfileError, match="no profile 'bikes'; there are airline, default"):
        registered_profile("bikes", "default")


def test_a_copy_that_kept_its_name_is_the_one_that_the_name_means(home: Path) -> None:
    path = home / "mine.toml"
    path.write_text(BIKES.replace('"bikes"', '"default"'))
    assert registered_profile("default", str(path)) == load_profile(str(path))


def test_only_name_and_intents_must_be_given(home: Path) -> None:
    (home / "p.toml").write_text('name = "p"\n[intents.a]\nrequired = ["x", "y"]\n[intents.b]\nrequired = ["x"]\n')
    assert set(load_profile("p.toml").labels) == {"conflict_type", "intent", "required_info", "tone"}
    assert load_profile("p.toml").labels["required_info"] == ("x", "y")


def test_a_relative_path_is_looked_up_where_the_process_is(
    bikes: Path, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert load_profile("bikes.toml").title == "A bicycle shop"
    (home / "other").mkdir()
    monkeypatch.chdir(home / "other")
    assert broken("bikes.toml") == [
        f"no profile '{home / 'other' / 'bikes.toml'}'; there are airline, default, retail, star, "
        "or give the path of a .toml file"
    ]


@pytest.mark.parametrize(
    ("name", "bare"), [("repair.bike", "bike"), ("bike", "bike"), ("x.bike", "x.bike"), ("repair.a.b", "a.b")]
)
def test_a_datum_may_be_named_with_its_intent(bikes: Path, name: str, bare: str) -> None:
    assert load_profile(str(bikes)).data_name(name) == bare


def test_a_profile_cannot_be_changed() -> None:
    with pytest.raises(ValueError, match="frozen"):
        load_profile("default").title = "mine"


# Broken ones

A = "[intents.a]\n"
NAMED = 'name = "p"\n'
BROKEN: list[tuple[str, list[tuple[str, str]]]] = [
    ("", [("name", "must be given"), ("intents", "must be given")]),
    (A, [("name", "must be given")]),
    (NAMED, [("intents", "must be given")]),
    (f"{NAMED}[intents]\n", [("intents", "at least 1")]),
    (f'{NAMED}intents = ["a"]\n', [("intents", "a table")]),
    (f'{NAMED}[intents]\na = "text"\n', [("intents.a", "a table")]),
    (f"name = 3\n{A}", [("name", "string")]),
    (f'name = "Bike Shop"\n{A}', [("name", "[a-z0-9_]{1,40}")]),
    (f'name = "../star"\n{A}', [("name", "[a-z0-9_]{1,40}")]),
    (f'name = "{"x" * 41}"\n{A}', [("name", "[a-z0-9_]{1,40}")]),
    (f'{NAMED}[intents."a/b"]\n', [("intents.a/b", "letters, digits")]),
    (f'{NAMED}[intents."{"x" * 61}"]\n', [(f"intents.{'x' * 61}", "1 to 60")]),
    (f'{NAMED}{A}[next_steps]\n"" = "nothing"\n', [("next_steps.", "1 to 60")]),
    (f'{NAMED}{A}[goals]\n"a\\nb" = "two lines"\n', [("goals.a b", "letters, digits")]),
    (f'{NAMED}{A}required = ["a/b"]\n', [("intents.a.required.0", "letters, digits")]),
    (f'{NAMED}{A}required = "x"\n', [("intents.a.required", "a list")]),
    (f"{NAMED}{A}required = [1]\n", [("intents.a.required.0", "string")]),
    (f'{NAMED}{A}required = ["x"]\n[data]\ny = ""\n', [("intents.a.required", "'x' is not in [data]; there are y")]),
    (f"{NAMED}colour = 1\n{A}", [("colour", "unknown key; a profile has name, title, intents")]),
    (f"{NAMED}{A}colour = 1\n", [("intents.a.colour", "an intent description, required")]),
    (f"{NAMED}ready_at = 80\n{A}", [("ready_at", "less than or equal to 1")]),
    (f"{NAMED}ready_at = nan\n{A}", [("ready_at", "1")]),
    (f"{NAMED}ready_at = 0\n{A}", [("ready_at", "greater than 0")]),
    (f"{NAMED}tones = []\n{A}", [("tones", "at least 1")]),
    (f'{NAMED}tones = "kind"\n{A}', [("tones", "a list")]),
    (f"{NAMED}{A}[conflict_types]\n", [("conflict_types", "at least 1")]),
    (f"{NAMED}{A}[next_steps]\nwait = 1\n", [("next_steps.wait", "string")]),
    (f"{NAMED}next_steps = 5\n{A}", [("next_steps", "a table")]),
    (f"title = 1\nready_at = 2\n{A}", [("name", "given"), ("title", "string"), ("ready_at", "1")]),
    ("name = \n", [("not readable as TOML", "line 1")]),
    ('name = "a"\nname = "b"\n', [("not readable as TOML", "")]),
    ("{}", [("not readable as TOML", "line 1")]),
    ("a = " + "[" * 9000, [("not readable as TOML", "")]),
]


@pytest.mark.parametrize(("text", "wrong"), BROKEN)
def test_a_broken_profile_gives_a_line_for_each_mistake_with_file_key_and_what_is_allowed(
    home: Path, text: str, wrong: Any
) -> None:
    path = home / "p.toml"
    path.write_text(text)
    lines = broken(path)
    assert len(lines) == len(wrong), lines
    for line, (key, allowed) in zip(lines, wrong, strict=True):
        assert line.startswith(f"{path}: {key}: ")
        assert allowed in line


def test_many_mistakes_are_not_all_told(home: Path) -> None:
    (home / "p.toml").write_text(NAMED + A + "".join(f"key{i} = 1\n" for i in range(100)))
    assert len(broken("p.toml")) == 5


@pytest.mark.parametrize("content", [b"\x00\x01\x02", b"\xff\xfen\x00", bytes(range(256)), b"name = 'caf\xe9'"])
def test_a_binary_file_gives_one_line(home: Path, content: bytes) -> None:
    (home / "p.toml").write_bytes(content)
    (line,) = broken("p.toml")
    assert line.startswith(f"{home / 'p.toml'}: not readable as TOML: ")


def test_a_folder_gives_one_line(home: Path) -> None:
    (home / "p.toml").mkdir()
    (line,) = broken("p.toml")
    assert line.startswith(f"{home / 'p.toml'}: ")
    assert "directory" in line.lower()


@pytest.mark.parametrize(
    "name",
    [
        "bike",
        "STAR",
        "",
        ".",
        "a/b",
        "../default",
        "/etc/passwd",
        "star\n",
        "default.TOML",
        "x" * 41,
        "ster\u0000",
        "p.json",
    ],
)
def test_a_name_that_is_none_gives_one_line_with_those_there_are(name: str) -> None:
    (line,) = broken(name)
    assert line.startswith("no profile ")
    assert "there are airline, default, retail, star, or give the path of a .toml file" in line


@pytest.mark.parametrize("path", ["missing.toml", "no/such/folder/p.toml", f"{'x' * 5000}.toml", "nul\u0000.toml"])
def test_a_path_where_nothing_is_gives_one_line(path: str) -> None:
    (line,) = broken(path)
    assert path[:20].replace("\u0000", "") in line.replace("\u0000", "").replace("\\x00", "")


# A name in data is never a path


@pytest.mark.parametrize(
    "name", ["{path}", "bikes.toml", "./bikes.toml", "../{path}", "bikes/", "a/bikes", "", "Bikes", "bikes\n"]
)
def test_a_name_in_data_is_never_a_path(bikes: Path, name: str) -> None:
    asked = name.format(path=bikes)
    with pytest.raises(ProfileError) as error:
        registered_profile(asked, str(bikes))
    (line,) = str(error.value).split("\n")
    assert line.startswith(f"no profile {asked[:60]!r}; there are airline, default, retail, star")


def test_the_file_of_a_profile_is_read_once(bikes: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = load_profile(str(bikes))

    def refuse(*_: Any, **__: Any) -> str:
        raise AssertionError("read again")

    monkeypatch.setattr(Path, "read_text", refuse)
    assert load_profile(str(bikes)) is first
    assert isinstance(first, Profile)
