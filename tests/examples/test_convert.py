"""The converters of examples/, run as a user runs them; what they write is read as `understudy replay` reads it.

Python runs without site-packages: they need nothing but the standard library.
"""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from understudy.recording import Recording, parse

EXAMPLES = Path(__file__).parents[2] / "examples"

CHAT = (
    "conversation,role,text,time\n"
    "c1,customer,Can you take my van on Friday?,2026-11-23T10:00:00Z\n"
    "c2,User,hello,2026-11-23 11:00\n"
    "c1,agent,At nine or at two.,2026-11-23T10:01:00Z\n"
    "c2,BOT,Hi!,2026-11-23 11:01\n"
)
STATED = ["c1", "c2"]


class Ran:
    """A converter that ran."""

    def __init__(self, script: str, *arguments: str | Path) -> None:
        command = [sys.executable, "-S", EXAMPLES / f"convert_{script}.py", *arguments]
        done = subprocess.run(command, capture_output=True, timeout=60)
        self.status = done.returncode
        self.raw = done.stdout
        self.errors = done.stderr.decode().replace("\r\n", "\n").splitlines()

    def recordings(self, profile: str = "default") -> list[Recording]:
        return [parse(line, profile) for line in self.raw.splitlines()]


def texts(recording: Recording) -> list[str]:
    return [message.text for message in recording.messages]


@pytest.fixture
def export(home: Path) -> Path:
    return home / "export.csv"


def convert(export: Path, content: str | bytes, *arguments: str | Path) -> Ran:
    export.write_bytes(content if isinstance(content, bytes) else content.encode())
    return Ran("csv", export, *arguments)


def good(ran: Ran) -> list[Recording]:
    assert (ran.status, ran.errors) == (0, [])
    return ran.recordings()


# CSV: what is good


def test_rows_are_grouped_by_conversation_in_order_of_appearance(export: Path) -> None:
    first, second = good(convert(export, CHAT))
    assert [first.conversation_id, second.conversation_id] == STATED
    assert [(m.role, m.text, m.at) for m in first.messages] == [
        ("customer", "Can you take my van on Friday?", "2026-11-23T10:00:00Z"),
        ("agent", "At nine or at two.", "2026-11-23T10:01:00Z"),
    ]
    assert [(m.role, m.at) for m in second.messages] == [
        ("customer", "2026-11-23T11:00:00Z"),
        ("agent", "2026-11-23T11:01:00Z"),
    ]


def test_messages_are_ordered_by_time_and_equal_or_unknown_times_keep_their_row(export: Path) -> None:
    rows = [
        "c,agent,fourth,2026-11-23T11:00:01+01:00",
        "c,user,fifth,",
        "c,user,second,2026-11-23T10:00:00Z",
        "c,user,third,2026-11-23T12:00:00+02:00",
        "c,user,first,2026-11-23T09:59:59",
    ]
    (recording,) = good(convert(export, "\n".join(["conversation,role,text,time", *rows])))
    assert texts(recording) == ["first", "second", "third", "fourth", "fifth"]


def test_without_times_the_rows_keep_their_order(export: Path) -> None:
    (recording,) = good(convert(export, "text,conversation,role\nb,c,user\na,c,agent\n"))
    assert texts(recording) == ["b", "a"]
    assert {message.at for message in recording.messages} == {None}


def test_what_spreadsheets_write_is_read(export: Path) -> None:
    content = '\ufeffConversation; Role ;Text;Time\r\nc;user;"one\r\n""two""; three — ☃";\r\n;;;\r\n\r\nc;ai;ok;\r\n'
    (recording,) = good(convert(export, content, "--delimiter", ";"))
    assert texts(recording) == ['one\r\n"two"; three — ☃', "ok"]
    (recording,) = good(
        convert(
            export, content[1:].replace(";", "\t").encode("utf-16"), *"--delimiter tab".split(), "--encoding", "utf-16"
        )
    )
    assert texts(recording)[1] == "ok"


def test_columns_roles_times_and_profile_can_be_named(export: Path) -> None:
    content = (
        "ticket,who,body,created\n7,Caller,hi,23/11/2026 10:00\n7,user,welcome,23/11/2026 09:00\n7,system,joined,\n"
    )
    names = "--conversation ticket --role who --text body --time created --profile star".split()
    roles = "--customer caller,guest --agent staff,user --ignore system".split()
    (recording,) = good(convert(export, content, *names, *roles, "--time-format", "%d/%m/%Y %H:%M"))
    assert recording.profile == "star"
    assert [(m.role, m.text) for m in recording.messages] == [("agent", "welcome"), ("customer", "hi")]


def test_a_role_that_is_named_is_no_longer_what_it_is_by_default(export: Path) -> None:
    content = "conversation,role,text\nc,visitor,hi\nc,user,welcome\nc,bot,typing\n"
    (recording,) = good(convert(export, content, "--agent", "User", "--ignore", "bot"))
    assert [message.role for message in recording.messages] == ["customer", "agent"]


def test_out_replaces_a_file_only_with_something(export: Path) -> None:
    out = export.with_name("out.jsonl")
    assert good(convert(export, CHAT, "--out", out)) == []
    written = out.read_bytes()
    assert [parse(line, "default").conversation_id for line in written.splitlines()] == STATED
    ran = convert(export, "conversation,role,text\n", "--out", out)
    assert (ran.status, ran.errors) == (1, [f"{export}: no conversation in it, nothing written"])
    assert out.read_bytes() == written
    assert convert(export, CHAT, "--out", export).status == 2
    assert export.read_text() == CHAT
    ran = convert(export, CHAT, "--out", export.parent / "nowhere" / "out.jsonl")
    assert (ran.status, len(ran.errors)) == (1, 1)
    assert {path.name for path in export.parent.iterdir()} == {"export.csv", "out.jsonl"}


def test_the_help_shows_an_export_that_converts_to_what_it_says(export: Path) -> None:
    lines = Ran("csv", "--help").raw.decode().splitlines()
    start = lines.index("  conversation,role,text,time")
    ran = convert(export, "\n".join(line.strip() for line in lines[start : start + 3]))
    shown = next(line.strip() for line in lines if line.startswith('  {"conversation_id"'))
    assert ran.raw.decode().startswith(shown.removesuffix("..."))
    assert ran.recordings()[0].turns == 1


# CSV: what is bad


BAD_ROWS = {
    b"c1,robot,hello,": "unknown role 'robot'; known are customer, user, human",
    b"c1,,hello,": "unknown role ''",
    b" ,user,hello,": "conversation is empty",
    b"x" * 201 + b",user,hello,": "conversation is over 200 characters",
    b"c1,user, ,": "text is empty",
    b"c1,user,hello,yesterday": "bad time 'yesterday'; write 2026-11-23T10:00:00Z, or see --time-format",
    b"c1,user,hello,23/11/2026 10:00": "bad time '23/11/2026 10:00'",
    b"c1,user,hello,0001-01-01T00:00:00+14:00": "bad time '0001-01-01T00:00:00+14:00'",
    b"c1,user,hello, there,": "5 cells where the first row has 4",
    b"c1,user,hello": "3 cells where the first row has 4",
    b"c1,user,caf\xe9,": "text is not utf-8; give the right --encoding",
    b'c1,user,"hello" there,': "not CSV: a quote inside a quoted cell is not doubled",
}


def test_a_bad_row_is_one_line_and_the_others_are_kept(export: Path) -> None:
    lines = CHAT.encode().splitlines()
    ran = convert(export, b"\n".join([*lines[:3], *BAD_ROWS, *lines[3:]]))
    assert ran.status == 1
    for number, (error, says) in enumerate(zip(ran.errors, BAD_ROWS.values(), strict=True), start=4):
        assert error.startswith(f"{export}:{number}: {says}")
    assert [(r.conversation_id, len(r.messages)) for r in ran.recordings()] == [("c1", 2), ("c2", 2)]


def test_the_line_is_the_one_in_the_file_where_the_row_begins(export: Path) -> None:
    ran = convert(export, 'conversation,role,text\n\nc,user,"a\nb"\nc,nobody,"c\nd"\nc,user,"never closed\nc,user,x\n')
    assert [error.removeprefix(f"{export}:").split(";")[0] for error in ran.errors] == [
        "5: unknown role 'nobody'",
        "7: not CSV: a quote that opens here is never closed",
    ]
    assert ran.errors[-1].endswith("; lines 7 to 8 are lost")
    assert texts(ran.recordings()[0]) == ["a\nb"]


def test_a_conversation_without_its_customer_is_left_out(export: Path) -> None:
    ran = convert(export, CHAT + "c3,agent,anybody there?,\n")
    assert (ran.status, ran.errors) == (1, [f"{export}:6: conversation 'c3' has no message of the customer"])
    assert [recording.conversation_id for recording in ran.recordings()] == STATED


@pytest.mark.parametrize(
    ("content", "arguments", "says"),
    [
        ("", "", "is empty"),
        ("id,role,text\n", "", "no column 'conversation'; there are 'id', 'role', 'text'"),
        ("a,b\n", "", "no column 'conversation' or 'role' or 'text'; there are 'a', 'b'"),
        ("conversation,role,text\n", "--time sent", "no column 'sent'; there are"),
        ("conversation;role;text\n", "", "is the delimiter ','? See --delimiter"),
        (CHAT.encode("utf-16"), "", "is not utf-8; give the right --encoding"),
        (CHAT, "--encoding utf-16", "is not utf-16; give the right --encoding"),
    ],
)
def test_a_file_that_cannot_be_used_is_one_line(export: Path, content: str | bytes, arguments: str, says: str) -> None:
    ran = convert(export, content, *arguments.split())
    (error,) = ran.errors
    assert (ran.status, ran.raw) == (1, b"")
    assert error.startswith(f"{export}: ")
    assert says in error


def test_a_file_that_is_not_there_is_one_line(export: Path) -> None:
    ran = Ran("csv", export)
    assert (ran.status, ran.errors) == (1, [f"{export}: cannot be read: No such file or directory"])


@pytest.mark.parametrize("argument", ["--delimiter=;;", '--delimiter="', "--encoding=klingon"])
def test_an_option_that_makes_no_sense_is_refused(export: Path, argument: str) -> None:
    ran = convert(export, CHAT, argument)
    assert (ran.status, ran.raw) == (2, b"")
    assert argument.split("=")[0] in ran.errors[-1]


# STAR; the dialogues are our own


def said(agent: str, text: str, second: int, action: str = "utter", **more: Any) -> dict[str, Any]:
    return {"Agent": agent, "Action": action, "Text": text, "UnixTime": 1_600_000_000 + second, **more}


def dialogue(number: int, *tasks: str, **changes: Any) -> dict[str, Any]:
    """Return a dialogue as STAR writes it."""
    return {
        "DialogueID": number,
        "CompletionLevel": "Complete",
        "Events": [
            said("UserGuide", "Be in a hurry.", 0, "instruct"),
            said("User", "Ahoy!", 1),
            said("Wizard", "hi", 2, "request_suggestions"),
            said("Wizard", "Ahoy, sailor.", 3, "pick_suggestion", ActionLabel="hello", ActionLabelOptions=["hello"]),
            said("User", "Nemo here.", 4),
            {"Agent": "Wizard", "Action": "query", "APIName": tasks[0], "Constraints": [], "UnixTime": 1_600_000_005},
            {"Agent": "KnowledgeBase", "Action": "return_item", "APIName": tasks[0], "TotalItems": 0},
            said("Wizard", "What may it be?", 6),
            said("User", "Will it storm on the reef?", 7),
            said("Wizard", "When?", 8, "pick_suggestion", ActionLabel="weather_ask_day", ActionLabelOptions=[]),
            said("User", "Tonight.", 9),
            said("User", " ", 10),
            {"Agent": "User", "Action": "complete", "UnixTime": 1_600_000_011},
        ],
        "Scenario": {"WizardCapabilities": [{"Domain": "sea", "Task": task} for task in tasks], "MultiTask": False},
        **changes,
    }


@pytest.fixture
def clone(home: Path) -> Path:
    (home / "STAR" / "dialogues").mkdir(parents=True)
    return home / "STAR"


def store(clone: Path, number: int, content: Any) -> Path:
    path = clone / "dialogues" / f"{number}.json"
    path.write_bytes(content if isinstance(content, bytes) else json.dumps(content).encode())
    return path


def test_star_s_utterances_actions_times_and_task_are_kept(clone: Path) -> None:
    store(clone, 7, dialogue(7, "weather"))
    ran = Ran("star", clone)
    assert (ran.status, ran.errors) == (0, ["1 dialogues written, 0 skipped"])
    (recording,) = ran.recordings()
    assert (recording.conversation_id, recording.profile) == ("star-7", "star")
    assert [(m.role, m.text, m.action, m.labels) for m in recording.messages] == [
        ("customer", "Ahoy!", None, None),
        ("agent", "Ahoy, sailor.", "hello", None),
        ("customer", "Nemo here.", None, None),
        ("agent", "What may it be?", None, None),
        ("customer", "Will it storm on the reef?", None, {"intent": "weather"}),
        ("agent", "When?", "weather_ask_day", None),
        ("customer", "Tonight.", None, None),
    ]
    assert recording.messages[0].at == "2020-09-13T12:26:41Z"


def test_star_s_dialogues_come_in_order_of_their_numbers_and_several_tasks_give_no_label(clone: Path) -> None:
    store(clone, 10, dialogue(10, "weather", "trivia"))
    store(clone, 9, dialogue(9, "trivia", Events=[said("User", "Quiz me.", 1)]))
    nine, ten = Ran("star", clone / "dialogues").recordings()
    assert [nine.conversation_id, ten.conversation_id] == ["star-9", "star-10"]
    assert nine.messages[-1].labels == {"intent": "trivia"}
    assert [message.labels for message in ten.messages if message.labels] == []


UNFINISHED = [
    (dialogue(0, "trivia", CompletionLevel="DisconnectDuringDialogue"), "unfinished: DisconnectDuringDialogue"),
    (dialogue(0, "trivia", Events=[said("Wizard", "Hello?", 1)]), "the user says nothing"),
]
CORRUPT = [
    (b'{"DialogueID": 2,', "corrupt: not JSON"),
    (b"\xff\xfe", "corrupt: not JSON"),
    ([], "corrupt: TypeError"),
    ({}, "corrupt: KeyError 'CompletionLevel'"),
    (dialogue(0, "trivia", Events=[{"Agent": "User", "Action": "utter"}]), "corrupt: KeyError 'Text'"),
    (dialogue(0, "trivia", Events=[said("User", "Hi", 10**30)]), "corrupt: OverflowError"),
    (dialogue(0, "trivia", Events=[said("User", "Hi", 10**15)]), "corrupt: ValueError"),
    (dialogue(0, "trivia", Scenario=None), "corrupt: TypeError"),
]


@pytest.mark.parametrize(("bad", "status"), [(UNFINISHED, 0), (CORRUPT, 1)])
def test_a_dialogue_that_cannot_be_used_is_one_line(clone: Path, bad: list[tuple[Any, str]], status: int) -> None:
    store(clone, 1, dialogue(1, "trivia"))
    paths = [store(clone, 10 + i, content) for i, (content, _) in enumerate(bad)]
    store(clone, 99, dialogue(99, "trivia"))
    ran = Ran("star", clone)
    *errors, summary = ran.errors
    for error, path, (_, says) in zip(errors, paths, bad, strict=True):
        assert error.startswith(f"{path}: {says}")
    assert (ran.status, summary) == (status, f"2 dialogues written, {len(bad)} skipped")
    assert [recording.conversation_id for recording in ran.recordings()] == ["star-1", "star-99"]


def test_a_folder_that_is_no_clone_is_one_line(home: Path) -> None:
    ran = Ran("star", home / "nowhere")
    assert (ran.status, len(ran.errors)) == (1, 1)
    assert "give the folder of a clone" in ran.errors[0]
