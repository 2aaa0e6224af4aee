"""The optimisation graph, from outside: what it publishes, what it refuses, and that a kill loses nothing."""

import asyncio
import json
import os
import shutil
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from langgraph.types import Command
from langsmith import utils
from langsmith.run_helpers import get_tracing_context

from understudy.benchmarks.prove import COMMAND, run_cli, write
from understudy.checkpoints.saver import open_checkpointer
from understudy.graph.optimization import create_optimization_workflow, graph
from understudy.intake import UnderstudyError
from understudy.lm.embedded import EmbeddedStudent
from understudy.lm.teacher import EmbeddedTeacher
from understudy.nodes.brain import Brain, WithBrain, own_brain
from understudy.nodes.publish import verdict
from understudy.nodes.run import report_page
from understudy.optimize import OptimizationBusy, RunWaits, optimize, run_gepa_optimization
from understudy.replay import replay
from understudy.settings import Settings, current_settings
from understudy.tests.gyms import Observed, bundled, once
from understudy.tests.ollama.server import OllamaServer

STATUSES = {"published", "candidate", "rejected", "skipped", "error"}
QUICK = {"GEPA_BREADTH": "1", "GEPA_DEPTH": "2"}


@pytest.fixture
def quick(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in QUICK.items():
        monkeypatch.setenv(name, value)


def learn(brain: Brain, *modules: str) -> dict[str, Any]:
    return asyncio.run(optimize(brain, modules=list(modules)))


def files(home: Path) -> list[str]:
    return sorted(str(path.relative_to(home)) for path in (home / "optimized_modules").rglob("*") if path.is_file())


def test_what_is_better_on_sealed_conversations_is_used_from_the_next_turn_on(
    home: Path, observed: Observed, quick: None
) -> None:
    brain = observed()
    report = learn(brain, "goals", "intent")
    assert report["status"] == "success" and set(report["module_results"]) == {"goals", "intent"}
    published = {name for name, result in report["module_results"].items() if result["status"] == "published"}
    assert published and report["optimized_count"] == len(published)
    for name in published:
        result = report["module_results"][name]
        assert result["interval"][0] > 0 and result["sealed_conversations"] >= 30
        assert result["masked"]["customer"] > 0
        assert result["score"] - result["baseline_score"] == pytest.approx(result["improvement"], abs=1e-5)
        assert brain.versioning("default").latest(name) == result["version"] == "v1.0"
        _, known = brain.versioning("default").load_module(name)
        assert known["run_id"] == report["run_id"] and known["metrics"]["test_score"] == result["score"]
        assert known["sizes"] == {"train": result["train_size"], "val": result["val_size"], "test": result["test_size"]}
    new = bundled(1)[0]
    asyncio.run(replay([write(home / "new.jsonl", [{**new, "conversation_id": "new"}])], brain))
    assert brain.gym is not None
    row = brain.gym.decision("new", 0)
    assert row is not None and {name for name, version in row.versions.items() if version == "v1.0"} == published
    page = report_page(brain.settings.optimized_modules_dir, report)
    assert page.stat().st_mode & 0o777 == 0o600 and "<script" not in page.read_text(encoding="utf-8")
    assert not [name for name in files(home) if "/.runs/" in name], "a run folder holds customers' words"
    brain.gym.close()


def test_too_little_evidence_is_skipped_with_the_reason(home: Path, observed: Observed, quick: None) -> None:
    brain = observed(2)
    report = learn(brain)
    assert report["status"] == "skipped" and report["optimized_count"] == 0
    assert {result["status"] for result in report["module_results"].values()} == {"skipped"}
    assert all(
        "needed" in result["reason"] or "one" in result["reason"] for result in report["module_results"].values()
    )
    assert not (home / "optimized_modules" / "default" / "intent").exists()


def test_a_run_is_not_traced_whatever_the_host_exports(
    home: Path, observed: Observed, quick: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LANGSMITH_TRACING", "true")
    monkeypatch.setenv("LANGSMITH_ENDPOINT", "http://127.0.0.1:9")
    utils.get_env_var.cache_clear()
    seen = []
    monkeypatch.setattr("understudy.nodes.run._report", lambda *_: seen.append(get_tracing_context()["enabled"]) or {})
    monkeypatch.setattr("understudy.nodes.run._write_page", lambda *_: None)
    monkeypatch.setattr("understudy.nodes.run.report_page", lambda *_: None)
    monkeypatch.setattr("understudy.nodes.run.page", lambda *_: "")
    monkeypatch.setattr("understudy.checkpoints.runs.Runs.save", lambda *_: None)
    learn(observed(2))
    utils.get_env_var.cache_clear()
    assert seen == [False]


def test_evidence_of_one_label_only_teaches_nothing(home: Path, observed: Observed, quick: None) -> None:
    talks = bundled(60)
    for talk in talks:
        for message in talk["messages"]:
            if "labels" in message:
                message["labels"] = {"conflict_type": "none"}
    result = learn(observed(talks), "conflict")["module_results"]["conflict"]
    assert result["status"] == "skipped" and "none" in result["reason"]


def test_a_teacher_that_only_rewords_gains_nothing(
    home: Path, observed: Observed, quick: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    complete = EmbeddedTeacher.complete

    def reword(self: EmbeddedTeacher, request: Any) -> Any:
        text = request.messages[0].text
        current = text.partition("<current_instruction>\n")[2].partition("\n</current_instruction>")[0]
        answer = complete(self, request)
        return _saying(answer, f"<instruction>\nPlease be careful here.\n{current}\n</instruction>")

    monkeypatch.setattr(EmbeddedTeacher, "complete", reword)
    brain = observed(60)
    report = learn(brain, "intent")
    assert report["module_results"]["intent"]["status"] == "rejected" and report["optimized_count"] == 0
    assert brain.versioning("default").latest("intent") == "v0.0"


def _saying(answer: Any, text: str) -> Any:
    from dataclasses import replace

    return replace(answer, message=type(answer.message).assistant(text))


NONSENSE = ["", "<think>Let me see", "<think>So</think>", "I cannot help with that.", "<instruction>Choose", '{"a": 1}']


def test_a_teacher_that_talks_nonsense_never_becomes_a_prompt(
    home: Path, observed: Observed, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GEPA_BREADTH", "3")
    monkeypatch.setenv("GEPA_DEPTH", "1")
    complete, said = EmbeddedTeacher.complete, iter(NONSENSE)
    monkeypatch.setattr(
        EmbeddedTeacher, "complete", lambda self, request: _saying(complete(self, request), next(said) or " ")
    )
    result = learn(observed(60), "intent")["module_results"]["intent"]
    assert result["status"] == "rejected" and "nothing of use" in result["reason"]
    assert sum(result["proposals_rejected"].values()) == result["candidates_tried"] == 3
    assert list(said) == [], "each proposal is asked for twice"


SECRETS = (
    "My name is Zebulon Quackenbush",
    "4111 1111 1111 1111",
    "my grandmother left her violin in the blue van yesterday",
)


def test_a_customer_s_data_is_never_published(
    home: Path, observed: Observed, quick: None, monkeypatch: pytest.MonkeyPatch, caplog: Any
) -> None:
    brain, talks = observed(), bundled(4)
    for talk in talks:
        talk["conversation_id"] += " and its secrets"
        talk["messages"][0] = {**talk["messages"][0], "role": "customer", "text": ". ".join(SECRETS)}
    asyncio.run(replay([write(home / "secrets.jsonl", talks)], brain))
    complete = EmbeddedTeacher.complete

    def leak(self: EmbeddedTeacher, request: Any) -> Any:
        answer = complete(self, request)
        text = answer.message.text.replace("\n</instruction>", f"\nThink of: {'; '.join(SECRETS)}.\n</instruction>")
        return _saying(answer, text)

    monkeypatch.setattr(EmbeddedTeacher, "complete", leak)
    monkeypatch.setattr("understudy.lm.reflection.check_text", lambda *_: None)
    report = learn(brain, "goals")
    result = report["module_results"]["goals"]
    assert result["status"] == "rejected" and result["reason"].startswith("it carries a customer's data")
    assert {find["kind"] for find in result["finds"]} >= {"name", "number", "words"}
    written = [path.read_text(encoding="utf-8") for path in (home / "optimized_modules").rglob("*") if path.is_file()]
    for secret in ("Quackenbush", "4111 1111", "grandmother left"):
        assert not [text for text in (*written, json.dumps(report), caplog.text) if secret in text]


@pytest.fixture
def waiting(home: Path, observed: Observed, quick: None, kept: Path) -> Brain:
    """The brain of a folder in which a run waits for a person's word on goals."""

    def run(folder: Path) -> None:
        brain = observed(publish_approval="manual")
        report = learn(brain, "goals")
        assert "--approve goals" in report["module_results"]["goals"]["reason"]
        assert brain.gym is not None
        brain.gym.close()
        shutil.copytree(home, folder, dirs_exist_ok=True)

    shutil.copytree(once(kept / "waiting", run), home, dirs_exist_ok=True)
    return Brain(Settings())


@pytest.mark.parametrize("answer", ["approve", "decline"])
def test_manual_approval_waits_for_a_person(waiting: Brain, answer: str) -> None:
    brain = waiting
    with pytest.raises(RunWaits, match="--approve goals"):
        learn(Brain(Settings()), "goals")
    assert brain.versioning("default").latest("goals") == "v0.0"
    status, _, err = run_cli("optimize", "--approve", "intent")
    assert status == 1 and "waits for intent; it waits for goals" in err
    status, out, _ = run_cli("optimize", f"--{answer}", "goals", "--json")
    told = json.loads(out)["module_results"]["goals"]["status"]
    assert (status, told) == (0, "published" if answer == "approve" else "rejected")
    assert brain.versioning("default").latest("goals") == ("v1.0" if answer == "approve" else "v0.0")
    assert run_cli("optimize", f"--{answer}", "goals")[0] == 1


@pytest.mark.parametrize(("answer", "status"), [(True, "published"), ("true", "published"), ("False", "rejected")])
async def test_in_studio_only_true_is_a_yes(waiting: Brain, answer: object, status: str) -> None:
    assert waiting.gym is not None
    run_id = waiting.gym.runs.unfinished("default")
    async with open_checkpointer(waiting.gym.path) as saver:
        graph = create_optimization_workflow(checkpointer=saver)
        on: Any = {"configurable": {"thread_id": run_id}}
        for unclear in ("no", {"goals": False}, [True], 1):
            told = await graph.ainvoke(Command(resume=unclear), on, context=WithBrain(brain=waiting))
            (asked,) = told["__interrupt__"]
            assert asked.value["question"] == "Publish a new version of goals? Answer true or false."
            assert waiting.versioning("default").latest("goals") == "v0.0"
        told = await graph.ainvoke(Command(resume=answer), on, context=WithBrain(brain=waiting))
    assert told["report"]["module_results"]["goals"]["status"] == status


def test_one_at_a_time(home: Path, observed: Observed, quick: None) -> None:
    brain = observed(6)

    async def both() -> list[Any]:
        return await asyncio.gather(*(optimize(brain) for _ in range(2)), return_exceptions=True)

    kinds = sorted(type(found).__name__ for found in asyncio.run(both()))
    assert kinds == ["OptimizationBusy", "dict"] and issubclass(OptimizationBusy, RuntimeError)


@pytest.mark.parametrize(
    ("changes", "status"),
    [
        ({}, "published"),
        ({"sealed_conversations": 29}, "candidate"),
        ({"interval": [-0.01, 1.0]}, "candidate"),
        ({"improvement": 0.0, "interval": [0.0, 1.0]}, "rejected"),
        ({"improvement": -0.1, "interval": [-0.2, 1.0]}, "rejected"),
        ({"faults": {"old": 0, "new": 1}}, "rejected"),
    ],
)
def test_the_gate(changes: dict[str, Any], status: str) -> None:
    good = {"sealed_conversations": 40, "interval": [0.05, 1.0], "improvement": 0.1, "faults": {"old": 1, "new": 1}}
    assert verdict({**good, **changes}, 0.0)[0] == status


def test_a_killed_run_goes_on(home: Path, observed: Observed, quick: None) -> None:
    brain = observed()
    assert brain.gym is not None
    run_folders = home / "optimized_modules" / "default" / ".runs"
    begun: list[Callable[[], Any]] = [
        lambda: brain.gym and brain.gym.runs.unfinished("default"),
        lambda: list(run_folders.glob("*/*/gepa_state.bin")),
    ]
    for has_begun in begun:
        process = subprocess.Popen([*COMMAND, "optimize", "--module", "intent", "--module", "goals"])
        while not has_begun():
            assert process.poll() is None
            time.sleep(0.01)
        process.kill()
        process.wait()
        for name in ("intent", "goals"):
            assert brain.versioning("default").load_into(
                _program(brain, name), name, brain.versioning("default").latest(name)
            )
    status, out, err = run_cli("optimize", "--module", "intent", "--module", "goals", "--json")
    report = json.loads(out)
    assert status == 0, err
    assert {result["status"] for result in report["module_results"].values()} <= {"published", "candidate", "rejected"}
    for name in ("intent", "goals"):
        saved = brain.versioning("default").list_versions(name)[1:]
        runs = [brain.versioning("default").metadata(name, version)["run_id"] for version in saved]
        assert len(set(runs)) == len(runs), "a run that is taken up again does not save twice"
    assert brain.gym.runs.unfinished("default") is None


def _program(brain: Brain, name: str) -> Any:
    from understudy.nodes.modules import MODULES

    return MODULES[name].program(brain.profile(None))


def test_with_models_of_a_server_the_same_graph_runs(
    home: Path, observed: Observed, quick: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    observed(60)
    said = "<instruction>\nRead the message. Otherwise choose none.\n</instruction>"

    def reply(messages: list[dict[str, Any]], form: Any, options: dict[str, Any]) -> str:
        from understudy.tests.ollama.reply import embedded_reply

        return said if form is None else embedded_reply(messages, form, options)

    with OllamaServer(reply=reply) as server:
        monkeypatch.setenv("LM_PROVIDER", "ollama")
        monkeypatch.setenv("OLLAMA_BASE_URL", server.url)
        report = learn(Brain(Settings()), "conflict")
        result = report["module_results"]["conflict"]
        assert result["status"] in STATUSES - {"skipped", "error"}, result
        assert {seen.body["model"] for seen in server.requests if seen.path == "/api/chat"} == {"gemma3:4b", "qwen3:8b"}
        server.stop()
        monkeypatch.setattr("understudy.lm.server.PAUSE_SECONDS", 0.01)
        down = learn(Brain(Settings(gepa_seed=1)), "conflict")["module_results"]["conflict"]
        assert down["status"] == "error" and "ollama serve" in down["reason"]
        server.start()
        monkeypatch.setenv("OLLAMA_TEACHER_MODEL", "nobody:1b")
        time.sleep(0.1)
        missing = learn(Brain(Settings(gepa_seed=2)), "conflict")["module_results"]["conflict"]
        assert missing["status"] == "error" and "ollama pull nobody:1b" in missing["reason"]
        assert server.crashes == []


def test_a_version_that_came_into_use_meanwhile_is_not_replaced(waiting: Brain) -> None:
    brain = waiting
    program = _program(brain, "goals")
    program.signature = program.signature.with_instructions("Somebody else was quicker.")
    brain.versioning("default").save_module("goals", program, "v3.0")
    told = json.loads(run_cli("optimize", "--approve", "goals", "--json")[1])["module_results"]["goals"]
    assert told["status"] == "candidate" and "v3.0 has come into use" in told["reason"]
    assert brain.versioning("default").latest("goals") == "v3.0"


def test_a_new_version_is_compared_with_the_one_in_use_whatever_the_settings_make_of_it(
    home: Path, observed: Observed, quick: None
) -> None:
    brain = observed(use_optimized_modules=False)
    program = _program(brain, "goals")
    program.signature = program.signature.with_instructions("List every datum.")
    brain.versioning("default").save_module("goals", program, "v1.0")
    assert learn(brain, "goals")["module_results"]["goals"]["parent"] == "v1.0"


def test_an_odd_answer_or_a_page_that_cannot_be_written_costs_no_run(
    home: Path, observed: Observed, quick: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    brain = observed(60)
    working, odd = EmbeddedStudent.complete, iter([True] * 4)

    def complete(self: EmbeddedStudent, request: Any) -> Any:
        answer = working(self, request)
        return _saying(answer, "Hm.") if next(odd, False) else answer

    monkeypatch.setattr(EmbeddedStudent, "complete", complete)
    (home / "optimized_modules" / "default").mkdir(parents=True)
    blocked = home / "optimized_modules" / "default" / "reports"
    blocked.touch()
    with pytest.raises(UnderstudyError, match="reports.*cannot be written"):
        learn(brain, "goals")
    blocked.unlink()
    assert learn(brain, "goals")["module_results"]["goals"]["status"] in STATUSES - {"error", "skipped"}
    assert not [name for name in files(home) if "/.runs/" in name]


def test_the_public_call_considers_the_newest_decisions(home: Path, observed: Observed, quick: None) -> None:
    observed(20)
    for remembered in (current_settings, own_brain):
        remembered.cache_clear()
    report = run_gepa_optimization(num_iterations=30)
    assert report["decisions_processed"] == 30 and set(report) >= {
        "status", "profile", "decisions_processed", "optimized_count", "module_results",
    }  # fmt: skip


def test_the_drawing_is_the_reviewed_one() -> None:
    drawing = graph.get_graph().draw_mermaid().split("graph TD;")[1].split("classDef")[0]
    edges = sorted(line.strip() for line in drawing.splitlines() if "--" in line or "-." in line)
    assert edges == [
        "__start__ --> dataset;",
        "compile -.-> conclude;",
        "compile -.-> evaluate;",
        "conclude -.-> __end__;",
        "conclude -.-> compile;",
        "dataset -.-> compile;",
        "dataset -.-> conclude;",
        "evaluate -.-> publish;",
        "publish -.-> conclude;",
    ]
    assert os.environ.get("LANGSMITH_TRACING") is None
