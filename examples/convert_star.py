"""Turn a clone of the STAR data set into conversations that `understudy replay` reads.

    git clone https://github.com/RasaHQ/STAR
    python examples/convert_star.py STAR > star.jsonl
    BRAIN_PROFILE=star understudy replay star.jsonl

STAR (Mosig, Mehri, Kober 2020, MIT licence) holds human-to-human service dialogues, one JSON file each: a list of
events, among them what the user and the wizard (the human who plays the agent) said. Standard library only.
"""

import argparse
import json
import signal
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

SPOKEN = {
    ("User", "utter"): "customer",
    ("Wizard", "utter"): "agent",  # in the wizard's own words, as a rule without a label
    ("Wizard", "pick_suggestion"): "agent",  # one of the sentences that were offered, with its label
}
"""The events in which somebody speaks to the other; the rest are queries, instructions and the like."""

FINISHED = ("Complete", "DisconnectDuringQuestionnaire")
"""The second broke off when the dialogue itself was over."""

LABELLED = 2
"""Which customer message gets the intent, counted from 0; the last one where there are fewer.

The scenario tells the task of the whole dialogue, but no single turn of it. The first message is often only a greeting
and the second only a name, so a label there would ask the module to guess; by the third most customers have said what
they want. One label a dialogue, since the turns after it would repeat it and count the long dialogues more.
"""


class Skipped(Exception):
    """A dialogue is left out; the message says why."""


class Corrupt(Skipped):
    """A file is not what STAR holds."""


def convert(dialogue: Any) -> dict[str, Any]:
    """Return a dialogue in the format of the replay.

    Raises:
        Skipped: it is unfinished or empty, or corrupt.
    """
    try:
        level = dialogue["CompletionLevel"]
        if level not in FINISHED:
            raise Skipped(f"unfinished: {level}")
        messages = [_message(event) for event in dialogue["Events"] if _is_spoken(event)]
        intent = _task(dialogue["Scenario"])
        name = f"star-{dialogue['DialogueID']}"
    except (KeyError, TypeError, AttributeError, ValueError, OverflowError, OSError) as error:
        raise Corrupt(f"corrupt: {type(error).__name__} {error}") from None
    customer = [message for message in messages if message["role"] == "customer"]
    if not customer:
        raise Skipped("the user says nothing")
    if intent:
        customer[: LABELLED + 1][-1]["labels"] = {"intent": intent}
    return {"conversation_id": name, "profile": "star", "messages": messages}


def _is_spoken(event: dict[str, Any]) -> bool:
    return (event["Agent"], event["Action"]) in SPOKEN and bool(event["Text"].strip())


def _message(event: dict[str, Any]) -> dict[str, Any]:
    role = SPOKEN[event["Agent"], event["Action"]]
    moment = datetime.fromtimestamp(event["UnixTime"], UTC).isoformat().replace("+00:00", "Z")
    message = {"role": role, "text": event["Text"].strip(), "at": moment}
    if role == "agent" and event.get("ActionLabel"):
        message["action"] = event["ActionLabel"]
    return message


def _task(scenario: dict[str, Any]) -> str | None:
    """Return the task of a scenario that has exactly one; with several, nothing tells which turn belongs to which."""
    tasks = {str(capability["Task"]) for capability in scenario["WizardCapabilities"]}
    return tasks.pop() if len(tasks) == 1 else None


def read(path: Path) -> dict[str, Any]:
    """Read and convert one file.

    Raises:
        Skipped: as `convert` does.
    """
    try:
        dialogue = json.loads(path.read_bytes().decode("utf-8-sig"))
    except OSError as error:
        raise Corrupt(f"cannot be read: {error.strerror}") from None
    except (ValueError, RecursionError):
        raise Corrupt("corrupt: not JSON") from None
    return convert(dialogue)


def main() -> int:
    """Convert a clone; 1 when a file is corrupt or there is none."""
    if hasattr(signal, "SIGPIPE"):
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # so that `| head` ends quietly
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("clone", type=Path, help="the clone, or its folder dialogues")
    clone = parser.parse_args().clone
    folder = clone / "dialogues" if (clone / "dialogues").is_dir() else clone
    # Their names are numbers: 9.json comes before 10.json.
    paths = sorted(folder.glob("*.json"), key=lambda path: (len(path.name), path.name))
    if not paths:
        print(f"{clone}: no dialogues/*.json in it; give the folder of a clone of RasaHQ/STAR", file=sys.stderr)
        return 1
    written, corrupt = 0, 0
    for path in paths:
        try:
            line = json.dumps(read(path), ensure_ascii=False) + "\n"
        except Skipped as reason:
            corrupt += isinstance(reason, Corrupt)
            print(f"{path}: {reason}", file=sys.stderr)
        else:
            sys.stdout.buffer.write(line.encode("utf-8", "replace"))
            written += 1
    print(f"{written} dialogues written, {len(paths) - written} skipped", file=sys.stderr)
    return int(corrupt > 0 or not written)


if __name__ == "__main__":
    sys.exit(main())
