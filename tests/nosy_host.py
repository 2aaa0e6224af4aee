"""A host that keeps and passes on whatever it can get: a cache on disk, histories, callbacks, traces, logs, tracebacks.

It is run as a script, `nosy_host.py STEP...` with one of `kill` and `embedded` or `ollama`, in a folder of its own;
tests/test_nothing_leaves.py then looks at all that it has left behind. The conversations come from $TALKS.
"""

import asyncio
import faulthandler
import json
import logging
import os
import pickle
import signal
import sys
import threading
import traceback
from pathlib import Path
from typing import Any

reached: list[str] = []
written: list[str] = []


def watch(event: str, arguments: tuple[Any, ...]) -> None:
    """Note every connection, and every file that is opened for writing."""
    if event in ("socket.connect", "socket.sendto") and isinstance(arguments[1], tuple):
        reached.append(f"{arguments[1][0]}:{arguments[1][1]}")
    elif event == "open" and isinstance(arguments[0], str | bytes):
        mode, flags = arguments[1] or "", arguments[2] or 0
        if set(mode) & set("wax+") or flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT):
            written.append(os.path.abspath(os.fsdecode(arguments[0])))
    elif event == "sqlite3.connect":
        written.append(os.path.abspath(os.fsdecode(arguments[0])))


sys.addaudithook(watch)
logging.basicConfig(level=logging.DEBUG, filename="host.log")
faulthandler.enable(open("crash.txt", "w"))
sys.excepthook = lambda *error: Path("excepthook.txt").write_text("".join(traceback.format_exception(*error)))
threading.excepthook = lambda error: Path("thread.txt").write_text(str(error.exc_value))

import dspy  # noqa: E402  (the hooks come first)
from dspy.lm15 import Message, Response, TextPart, Usage  # noqa: E402
from dspy.utils.callback import BaseCallback  # noqa: E402
from langsmith import traceable  # noqa: E402
from pydantic import TypeAdapter  # noqa: E402

from understudy import cli  # noqa: E402
from understudy.checkpoints.saver import open_checkpointer  # noqa: E402
from understudy.checkpoints.trials import Trials  # noqa: E402
from understudy.graph.shadow import create_shadow_workflow  # noqa: E402
from understudy.lm.embedded import EmbeddedStudent  # noqa: E402
from understudy.lm.teacher import EmbeddedTeacher  # noqa: E402
from understudy.nodes.ab_life import begin  # noqa: E402
from understudy.nodes.ab_tester import ShadowABTester  # noqa: E402
from understudy.nodes.brain import Brain  # noqa: E402
from understudy.nodes.personalize import MessagePersonalizer  # noqa: E402
from understudy.replay import tell  # noqa: E402
from understudy.settings import Settings  # noqa: E402

heard: list[str] = []


class Listener(BaseCallback):  # type: ignore[misc]
    """Keeps the texts of everything that DSPy calls."""

    def on_module_start(self, call_id: str, instance: Any, inputs: dict[str, Any]) -> None:
        heard.append(repr(inputs))

    def on_lm_start(self, call_id: str, instance: Any, inputs: dict[str, Any]) -> None:
        heard.append(repr(inputs))

    def on_adapter_parse_end(self, call_id: str, outputs: Any, exception: Exception | None = None) -> None:
        heard.append(repr(outputs))


def answering(text: str) -> Response:
    usage = Usage(input_tokens=1, output_tokens=1, total_tokens=2)
    message = Message.assistant([TextPart(text)])
    return Response(id=None, model="m", message=message, finish_reason="stop", usage=usage)


class Echo:
    """A model that says what DSPy's chat format wants to hear."""

    def complete(self, request: Any) -> Response:
        return answering("[[ ## reply ## ]]\nthe model said hostword\n\n[[ ## completed ## ]]")


def own_model() -> dspy.LM:
    """The host's own model: what it says is cached, kept in histories, and heard by callbacks."""
    return dspy.LM("host/model", engine=Echo(), cache=True)


@traceable
def own_work(text: str) -> str:
    """Something of the host's own, to see that its traps work."""
    dspy.Predict("message -> reply")(message=text)
    return text


def say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def run(*arguments: str) -> None:
    """Run a command in this process."""
    sys.argv = ["understudy", *arguments]
    status = cli._run()
    say(f"\n{arguments[0]}: exit status {status}")


def raising(**inputs: Any) -> dict[str, Any]:
    raise ValueError(f"I cannot make anything of {inputs}")


def loses(self: Any, *answers: Any) -> None:
    raise ValueError(f"I cannot keep {answers}, of {os.environ['LABELS']}")


def unfitting(**inputs: Any) -> dict[str, Any]:
    return {"number": TypeAdapter(int).validate_python(inputs["message"])}


def killed() -> None:
    """Die when the teacher is asked for the second time: in the middle of a run of GEPA."""
    complete, asked = EmbeddedTeacher.complete, list[Any]()

    def dies(self: Any, request: Any) -> Any:
        asked.append(request)
        return complete(self, request) if len(asked) < 2 else os.kill(os.getpid(), signal.SIGKILL)

    EmbeddedTeacher.complete = dies  # type: ignore[method-assign]
    run("optimize", "--module", "conflict", "--module", "intent")


async def posted(given: dict[str, Any]) -> None:
    """Post a message with a state to the graph, as an app does."""
    async with open_checkpointer() as saver:
        news = {
            "messages": [{"role": "user", "content": given["messages"][0]["text"]}],
            "state": {"cart": [{"of": "zq0666 state"}]},
            "customer": given["customer"],
        }
        graph = create_shadow_workflow(checkpointer=saver)
        answer = await graph.ainvoke(news, {"configurable": {"thread_id": "posted"}})
        say(f"decided: {answer['decision_id'] is not None}")


def models_of_a_server() -> None:
    """The same with a model server for the student, the teacher and the dreamer."""
    os.environ["LM_PROVIDER"] = "embedded"
    run("replay", os.environ["TALKS"])
    os.environ["LM_PROVIDER"] = "ollama"
    run("replay", os.environ["MORE"])
    run("optimize", "--module", "response")
    run("dream", "--count", "4")
    run("label", "--teacher", "--limit", "3")


@traceable
def whole_story(talks: str) -> None:
    """All that the understudy does with conversations, and some of what can go wrong in it."""
    run("optimize", "--module", "conflict", "--module", "intent")
    run("dream")
    brain = Brain(Settings())
    begin(brain, "default", "goals", "v0.0", "v0.0", name="by hand")
    asyncio.run(
        tell(
            brain,
            os.environ["KNOWN"],
            label={"turn": 0, "fields": json.loads(os.environ["LABELS"]), "author": "zq0777author"},
        )
    )
    given = json.loads(Path(talks).read_text().splitlines()[0])
    suggestion = MessagePersonalizer(brain=brain).personalize(given["messages"][1]["text"], customer=given["customer"])
    say(f"confidence {suggestion.confidence}")
    tester = ShadowABTester("bad modules", "raising", "unfitting", brain=brain)
    inputs = {"message": given["messages"][0]["text"]}
    tester.run_both_variants("c1", raising, unfitting, inputs, lambda answer: 1.0)
    say(str(tester.get_statistics()))
    complete, proposed, calls = EmbeddedStudent.complete, EmbeddedTeacher.complete, list[Any]()

    def fails(self: Any, request: Any) -> Any:
        raise ValueError(f"what is this: {request.messages[-1].text}")

    def fails_later(self: Any, request: Any) -> Any:
        calls.append(request)
        return complete(self, request) if len(calls) < 20 else fails(self, request)

    def mumbles(self: Any, request: Any) -> Any:
        return answering(json.dumps({"intent": request.messages[-1].text, "confidence": inputs}))

    EmbeddedStudent.complete = fails  # type: ignore[method-assign]
    run("replay", os.environ["MORE"])
    EmbeddedStudent.complete = mumbles  # type: ignore[method-assign]
    run("replay", "--faults", os.environ["MORE"])
    EmbeddedStudent.complete = complete  # type: ignore[method-assign]
    run("replay", "--faults", os.environ["MORE"])
    EmbeddedTeacher.complete = fails  # type: ignore[method-assign,assignment]
    run("optimize", "--module", "quality")
    EmbeddedTeacher.complete = proposed  # type: ignore[method-assign]
    for student in (fails, fails_later):
        EmbeddedStudent.complete = student  # type: ignore[method-assign]
        run("optimize", "--module", "quality")
    EmbeddedStudent.complete = complete  # type: ignore[method-assign]
    Trials.keep = loses  # type: ignore[method-assign]
    asyncio.run(posted(given))
    assert brain.gym is not None
    say(f"{len(brain.gym.suggestions(None, None, 10_000))} suggestions")
    brain.gym.close()
    run("status")
    run("ab", "status", "by hand", "--picture", "course.svg")


def main() -> None:
    dspy.configure_cache(enable_disk_cache=True, enable_memory_cache=True, disk_cache_dir="cache")
    dspy.configure(lm=own_model(), callbacks=[Listener()], trace=[], track_usage=True)
    own_work("the host said hostword")
    for step in sys.argv[1:]:
        if step == "kill":
            run("replay", os.environ["TALKS"])
            killed()
        elif step == "embedded":
            whole_story(os.environ["TALKS"])
        elif step == "ollama":
            models_of_a_server()
    Path("heard.txt").write_text("\n".join(heard))
    Path("trace.txt").write_text(repr(dspy.settings.trace))
    from dspy.clients.base_lm import GLOBAL_HISTORY

    Path("history.pkl").write_bytes(pickle.dumps(repr(GLOBAL_HISTORY)))
    Path("memory.txt").write_text(repr(dict(dspy.cache.memory_cache)))
    Path("audit.json").write_text(json.dumps({"reached": sorted(set(reached)), "written": sorted(set(written))}))


main()
