"""Models of an Ollama server, over a socket: what is sent, what comes back, and all that can go wrong."""

import asyncio
import json
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import dspy
import pytest
from dspy.lm15 import Config, Message, Request

from understudy.intake import UnderstudyError
from understudy.lm import server as server_file
from understudy.lm.adapter import AnswerAdapter
from understudy.lm.errors import (
    AnswerCut,
    AnswerEmpty,
    AnswerEndless,
    AnswerError,
    AnswerTimeout,
    ConnectionCut,
    FieldMissing,
    LoadTimeout,
    ModelError,
    ModelMissing,
    NotJson,
    NotOllama,
    OutOfRange,
    RequestRefused,
    ServerBroke,
    ServerBusy,
    ServerDown,
    ServerRefused,
    ServerUnknown,
    WrongLabel,
)
from understudy.lm.roles import get_dreamer_lm, get_student_lm, get_teacher_context, get_teacher_lm
from understudy.nodes.modules import MODULES
from understudy.profile import load_profile
from understudy.settings import Settings, SettingsError
from understudy.tests.ollama.faults import FAULTS
from understudy.tests.ollama.model import Model
from understudy.tests.ollama.server import OllamaServer

PROGRAM = MODULES["conflict"].program(load_profile("default"))


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Wait for nothing longer than a test may."""
    monkeypatch.setenv("OLLAMA_TIMEOUT", "0.5")
    monkeypatch.setattr(server_file, "PROBE_SECONDS", 0.3)
    monkeypatch.setattr(server_file, "PAUSE_SECONDS", 0.01)
    yield


def ask(message: str = "this is ridiculous", lm: Any = None, **inputs: Any) -> tuple[Any, dict[str, Any]]:
    adapter = AnswerAdapter()
    with dspy.context(lm=lm or get_student_lm(Settings()), adapter=adapter, disable_history=True, trace=None):
        return PROGRAM(**{"history": [], "message": message, **inputs}), adapter.spent


async def aask(message: str = "this is ridiculous") -> Any:
    with dspy.context(lm=get_student_lm(Settings()), adapter=AnswerAdapter(), disable_history=True, trace=None):
        return await PROGRAM.acall(history=[], message=message)


def sent(ollama: OllamaServer, path: str = "/api/chat") -> list[Any]:
    return [seen.body for seen in ollama.requests if seen.path == path]


def test_a_request_carries_all_that_the_server_must_know(ollama: OllamaServer) -> None:
    answer, spent = ask()
    assert answer.conflict_type == "frustration" and "ridiculous" in answer.reasoning
    (body,) = sent(ollama)
    assert body["model"] == "gemma3:4b" and body["think"] is False and body["keep_alive"] == "30m"
    assert body["options"] == {"num_ctx": 8192, "num_predict": 1024, "temperature": 0.0, "seed": 0}
    assert body["format"]["properties"]["confidence"]["maximum"] == 1
    assert body["format"]["properties"]["conflict_type"]["enum"] == list(load_profile("default").conflict_types)
    assert spent["tokens_in"] > 100 and spent["tokens_out"] > 5
    assert {"load_ms", "prompt_ms", "generate_ms"} <= set(spent)


def test_the_model_is_loaded_once_with_the_same_context(ollama: OllamaServer) -> None:
    for _ in range(3):
        ask()
    assert dict(ollama.loads) == {"gemma3:4b": 1} and ollama.loaded == {"gemma3:4b": 8192}
    (load,) = sent(ollama, "/api/generate")
    assert load["options"] == {"num_ctx": 8192} and load["keep_alive"] == "30m"


def test_a_slow_load_has_its_own_deadline_and_is_shared(ollama: OllamaServer, monkeypatch: pytest.MonkeyPatch) -> None:
    ollama.load_seconds = 1.2

    async def many() -> None:
        leaver = asyncio.create_task(aask())
        await asyncio.sleep(0.3)
        leaver.cancel()
        await asyncio.gather(*(aask() for _ in range(4)))

    asyncio.run(many())
    assert ollama.loads["gemma3:4b"] == 1 and len(sent(ollama, "/api/generate")) == 1
    monkeypatch.setattr(server_file, "LOAD_SECONDS", 0.1)
    monkeypatch.setattr(server_file, "FRESH_SECONDS", 0.0)
    ollama.stop()
    ollama.start()
    with pytest.raises(LoadTimeout, match="was not loaded"):
        ask()


def test_the_roles_are_the_models_of_the_settings(ollama: OllamaServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OLLAMA_TEACHER_REASONING", "true")
    monkeypatch.setenv("GEPA_SEED", "7")
    with get_teacher_context(Settings()) as teacher:
        assert dspy.settings.lm is teacher
        assert teacher("Write a better instruction.") == ["Follow the instruction and use the examples."]
    get_dreamer_lm(Settings())("Invent somebody.")
    thinking, dreaming = sent(ollama)
    assert (thinking["model"], thinking["think"]) == ("qwen3:8b", True) and "format" not in thinking
    assert thinking["options"]["seed"] == 7 and thinking["options"]["temperature"] == 1.0
    assert (dreaming["model"], dreaming["options"]["temperature"], dreaming["options"]["top_p"]) == (
        "llama3.2", 0.9, 0.95,
    )  # fmt: skip
    ask(lm=get_teacher_lm(Settings()))
    assert sent(ollama)[-1]["think"] is False, "thinking and a schema do not go together"


def test_the_embedded_engine_has_every_role(home: Any) -> None:
    assert get_student_lm(Settings()).model == "embedded/student"
    assert get_dreamer_lm(Settings()).model == "embedded/dreamer"


def test_nothing_is_kept_in_dspy_s_cache_or_history(ollama: OllamaServer) -> None:
    lm = get_student_lm(Settings())
    for _ in range(2):
        lm("the same question")
        ask(lm=lm)
    assert len(sent(ollama)) == 4 and lm.history == []


def test_a_prompt_that_does_not_fit_is_shortened_here_and_said(
    ollama: OllamaServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OLLAMA_NUM_CTX", "2600")
    lines = [{"role": "customer", "text": f"{i} some words about a booking that nobody needs"} for i in range(80)]
    _, spent = ask(history=lines)
    assert spent["left_out"] > 0 and spent["left_out"] % 8 == 0
    _, spent = ask("word " * 20_000)
    assert spent["cut"] > 50_000
    assert ollama.truncated == []


# What goes wrong

AT_ONCE = {
    "reset": ConnectionCut,
    "500": ServerBroke,
    "503": ServerBusy,
    "429": ServerBusy,
    "404": ModelMissing,
    "html": NotOllama,
    "502": NotOllama,
    "redirect": NotOllama,
    "empty_body": NotOllama,
    "cut": ConnectionCut,
    "no_done": ConnectionCut,
    "error_mid": ServerBroke,
    "garbage": NotOllama,
    "endless": AnswerEndless,
}
SLOW = ("hang", "hang_mid", "drip")
REPAIRED = {
    "prose": "prose",
    "fence": "prose",
    "think": "thinking",
    "label_case": "spelling",
    "comma": "comma",
    "extra_field": "extra_field",
}
UNFIT: dict[str, type[AnswerError]] = {
    "not_json": NotJson,
    "think_open": NotJson,
    "empty": AnswerEmpty,
    "length": AnswerCut,
    "wrong_label": WrongLabel,
    "out_of_range": OutOfRange,
    "missing_field": FieldMissing,
    "other_language": WrongLabel,
}


def test_every_fault_of_the_test_server_is_looked_at() -> None:
    assert set(FAULTS) == {*AT_ONCE, *SLOW, *REPAIRED, *UNFIT}


@pytest.mark.parametrize("fault", list(AT_ONCE))
def test_a_fault_of_the_server_has_a_name_and_is_tried_again(ollama: OllamaServer, fault: str) -> None:
    ollama.play(fault, times=1)
    assert ask()[0].conflict_type == "frustration"
    assert [seen.fault for seen in ollama.requests if seen.path == "/api/chat"] == [fault, None]
    ollama.play(fault)
    with pytest.raises(AT_ONCE[fault]) as caught:
        ask()
    assert isinstance(caught.value, UnderstudyError) and ollama.url in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not [seen for seen in ollama.requests if seen.path == "/elsewhere"], "a redirect was followed"


@pytest.mark.parametrize("fault", SLOW)
def test_a_server_that_is_slow_costs_no_more_than_the_deadline(ollama: OllamaServer, fault: str) -> None:
    ollama.play(fault)
    started = time.monotonic()
    with pytest.raises(AnswerTimeout, match="within 0.5 s"):
        ask()
    assert time.monotonic() - started < 2 * 0.5 + 1.5
    ollama.play(fault, times=1)
    assert ask()[0].conflict_type == "frustration"


@pytest.mark.parametrize("fault", list(REPAIRED))
def test_an_answer_that_is_plainly_meant_is_repaired(ollama: OllamaServer, fault: str) -> None:
    ollama.play(fault)
    answer, spent = ask()
    assert answer.conflict_type == "frustration" and spent["repairs"] == [REPAIRED[fault]]
    assert len(sent(ollama)) == 1


@pytest.mark.parametrize("fault", list(UNFIT))
def test_an_answer_that_does_not_fit_is_asked_for_once_more(ollama: OllamaServer, fault: str) -> None:
    ollama.play(fault, times=1)
    answer, spent = ask()
    assert answer.conflict_type == "frustration" and spent["repairs"] == [f"again:{UNFIT[fault].__name__}"]
    first, second = sent(ollama)
    assert second["messages"][:2] == first["messages"] and len(second["messages"]) == 4
    assert "of no use" in second["messages"][3]["content"]
    ollama.play(fault)
    with pytest.raises(UNFIT[fault]) as caught:
        ask()
    assert len(sent(ollama)) == 4 and len(caught.value.text) <= 2000


def test_a_model_that_is_not_there_names_the_command(ollama: OllamaServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OLLAMA_MODEL", "nope:1b")
    with pytest.raises(ModelMissing, match="ollama pull nope:1b") as caught:
        ask()
    assert caught.value.down


def test_a_request_the_server_does_not_accept_is_not_tried_again(home: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    with OllamaServer(models=[Model("gemma3:4b")]) as server:
        monkeypatch.setenv("LM_PROVIDER", "ollama")
        monkeypatch.setenv("OLLAMA_BASE_URL", server.url)
        monkeypatch.setenv("OLLAMA_TEACHER_MODEL", "gemma3:4b")
        monkeypatch.setenv("OLLAMA_TEACHER_REASONING", "true")
        lm = get_teacher_lm(Settings())
        request = Request(model=lm.model, messages=(Message.user("hello"),), config=Config())
        with pytest.raises(RequestRefused, match="does not support thinking"):
            lm(request)
        assert len(sent(server)) == 1


def test_a_server_that_is_not_there(home: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    monkeypatch.setenv("LM_PROVIDER", "ollama")
    monkeypatch.setenv("OLLAMA_BASE_URL", f"http://127.0.0.1:{port}")
    with pytest.raises(ServerRefused, match="ollama serve"):
        ask()
    monkeypatch.setenv("BRAIN_ALLOW_REMOTE_MODEL", "true")
    monkeypatch.setenv("OLLAMA_BASE_URL", "http://no-such-host.invalid:11434")
    with pytest.raises(ServerUnknown, match="OLLAMA_BASE_URL"):
        ask()


def test_plain_dspy_gets_dspy_s_own_errors(ollama: OllamaServer) -> None:
    lm = get_student_lm(Settings())
    ollama.play("503")
    with pytest.raises(dspy.LMError, match="server busy"):
        lm("hello")
    ollama.play("length")
    with pytest.raises(dspy.LMError, match="cut off"):
        lm("hello")


def test_proxies_of_the_environment_do_not_see_what_is_meant_for_this_machine(
    ollama: OllamaServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    assert ask()[0].conflict_type == "frustration"


def test_no_more_calls_at_a_time_than_allowed(ollama: OllamaServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OLLAMA_NUM_PARALLEL", "2")

    async def many() -> None:
        await asyncio.gather(*(aask(f"message {i}") for i in range(20)))

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    asyncio.run(many())
    for thread in threads:
        thread.join()
    assert len(sent(ollama)) == 24 and 1 <= ollama.most_at_once <= 2


def test_a_caller_that_leaves_ends_the_call(ollama: OllamaServer) -> None:
    ask()
    ollama.play("drip")

    async def leave() -> None:
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(aask(), 0.2)

    asyncio.run(leave())
    ollama.behave()
    assert ask()[0].conflict_type == "frustration"


# The breaker


def test_after_ten_failures_calls_are_held_back_and_come_back_within_a_probe(ollama: OllamaServer) -> None:
    ask()
    ollama.stop()
    with pytest.raises((ServerRefused, ServerDown)):
        for _ in range(10):
            with pytest.raises(ServerRefused):
                ask()
    started = time.perf_counter()
    with pytest.raises(ServerDown, match="10 failures in a row, the last: .*ollama serve") as caught:
        ask()
    assert time.perf_counter() - started < 0.1 and caught.value.down
    ollama.start()
    time.sleep(0.35)
    assert ask()[0].conflict_type == "frustration"
    assert ask()[0].conflict_type == "frustration"


def test_one_look_for_all_tells_whether_a_server_is_back(ollama: OllamaServer) -> None:
    ask()
    server = get_student_lm(Settings()).engine.server

    async def eight() -> list[Any]:
        return await asyncio.gather(*(aask() for _ in range(8)), return_exceptions=True)

    for fault, kinds in (("hang", {"ServerDown"}), ("html", {"ServerDown"}), (None, {"Prediction"})):
        server._failures, ollama.requests[:] = 10, []
        server._next_probe = 0.0
        ollama.play(*filter(None, [fault]), path="/api/version")
        assert {type(one).__name__ for one in asyncio.run(eight())} == kinds
        assert [seen.path for seen in ollama.requests].count("/api/version") == 1
        assert [seen.path for seen in ollama.requests].count("/api/chat") == (0 if fault else 8)


def test_what_is_the_caller_s_fault_does_not_open_the_breaker(
    ollama: OllamaServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OLLAMA_MODEL", "nope:1b")
    for _ in range(12):
        with pytest.raises(ModelMissing):
            ask()


def test_errors_are_under_one_root_and_say_whether_to_try_again() -> None:
    kinds = [ModelError]
    for kind in kinds:
        kinds.extend(kind.__subclasses__())
    assert len(kinds) > 18 and all(issubclass(kind, UnderstudyError) for kind in kinds)
    assert {kind.__name__ for kind in kinds if kind.down} == {
        "ServerRefused", "ServerUnknown", "ServerDown", "ModelMissing",
    }  # fmt: skip
    assert not any(kind.retryable for kind in kinds if issubclass(kind, AnswerError | RequestRefused | ServerDown))


def test_a_chat_that_fails_opens_the_breaker_though_the_model_loads(ollama: OllamaServer) -> None:
    ollama.play("500")
    kinds = []
    for _ in range(6):
        with pytest.raises(ModelError) as caught:
            ask()
        kinds.append(caught.type)
    assert kinds[0] is ServerBroke and kinds[-1] is ServerDown
    assert len(sent(ollama)) <= 12


def test_half_a_character_is_no_reason_to_fail(ollama: OllamaServer) -> None:
    good = {"conflict_type": "none", "confidence": 0.5, "reasoning": "sad HALF"}
    half = json.dumps(good).replace("HALF", "\\ud83d")
    ollama.reply = lambda *_: half
    assert ask()[0].reasoning.encode("utf-8").startswith(b"sad ")
    ollama.reply = lambda *_: half.replace("none", "cross")
    with pytest.raises(WrongLabel) as caught:
        ask()
    assert str(caught.value).encode("utf-8") and caught.value.text.encode("utf-8")


@pytest.mark.parametrize("count", [-1, 10**30])
def test_counts_that_cannot_be_are_no_answer(ollama: OllamaServer, monkeypatch: pytest.MonkeyPatch, count: int) -> None:
    monkeypatch.setattr("understudy.tests.ollama.server._tokens", lambda text: count)
    with pytest.raises(NotOllama):
        ask()
    ollama.truncated.clear()


def test_threads_that_ask_first_at_the_same_time_share_one_loop(ollama: OllamaServer) -> None:
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda number: ask(f"message {number}")[0], range(16)))
    assert len(found) == 16
    assert sum(thread.name == "understudy-models" for thread in threading.enumerate()) == 1


def test_a_version_that_drips_holds_nobody_up(ollama: OllamaServer, monkeypatch: pytest.MonkeyPatch) -> None:
    ask()
    server = get_student_lm(Settings()).engine.server
    server._failures, server._next_probe = 10, 0.0
    monkeypatch.setattr(server_file, "KNOCK_SECONDS", 0.2)
    ollama.play("drip", path="/api/version")
    started = time.monotonic()
    with pytest.raises(ServerDown):
        ask()
    assert time.monotonic() - started < 2


def test_an_answer_without_an_end_is_given_up_by_its_bytes(
    ollama: OllamaServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server_file, "MOST_BYTES", 3000)
    ollama.reply = lambda *_: json.dumps({"conflict_type": "none", "confidence": 0.5, "reasoning": "x" * 3500})
    with pytest.raises(AnswerEndless, match="beyond 3,000 bytes"):
        ask()


def test_a_password_is_used_and_in_no_message(ollama: OllamaServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OLLAMA_BASE_URL", ollama.url.replace("http://", "http://ines:s3cret@"))
    assert ask()[0].conflict_type == "frustration"
    ollama.play("500")
    with pytest.raises(ServerBroke) as caught:
        ask()
    assert "s3cret" not in str(caught.value) and ollama.url in str(caught.value)
    monkeypatch.setenv("OLLAMA_BASE_URL", "http://ines:s3cret@127.0.0.1:9?x=1")
    with pytest.raises(SettingsError) as wrong:
        Settings()
    assert "s3cret" not in str(wrong.value)


def test_a_forked_process_has_a_loop_of_its_own(ollama: OllamaServer) -> None:
    ask()
    code = (
        "import os, dspy\n"
        "from understudy.lm.adapter import AnswerAdapter\n"
        "from understudy.lm.roles import get_student_lm\n"
        "from understudy.nodes.modules import MODULES\n"
        "from understudy.profile import load_profile\n"
        "def ask():\n"
        "    with dspy.context(lm=get_student_lm(), adapter=AnswerAdapter(), disable_history=True, trace=None):\n"
        "        return MODULES['conflict'].program(load_profile('default'))(history=[], message='hello')\n"
        "ask()\n"
        "child = os.fork()\n"
        "if child == 0:\n"
        "    ask()\n"
        "    os._exit(7)\n"
        "print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=30)
    assert done.stdout.strip() == "7", done.stderr
