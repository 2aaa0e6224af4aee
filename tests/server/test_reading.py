"""Decisions and conversations over HTTP: each comes once, whatever is asked, written or erased meanwhile."""

import json
from collections.abc import Iterator
from itertools import compress
from typing import Any
from urllib.parse import quote, urlencode

import pytest

from understudy.checkpoints.gym import Gym
from understudy.events import Event
from understudy.forgetting import forget
from understudy.nodes.brain import own_brain
from understudy.tests.gyms import Observed, bundled

testclient = pytest.importorskip("fastapi.testclient")
HOSTILE = (
    "a/b c",
    "über?x=1&y#z",
    "50% off/..",
    "'; DROP TABLE events; --",
    "<script>alert(1)</script>",
    "\u202eevil",
    "*",
)


class Api:
    """The API on the gym in the empty folder; every answer that is an error must be a problem in one line."""

    def __init__(self) -> None:
        from understudy.server.api import api

        self.client = testclient.TestClient(api, base_url="http://localhost")

    def ask(self, path: str, **query: Any) -> tuple[int, Any]:
        given = {name: value for name, value in query.items() if value is not None}
        answer = self.client.get(f"{path.removeprefix('/brain')}{'?' if given else ''}{urlencode(given)}")
        if answer.status_code != 200:
            assert answer.headers["content-type"] == "application/problem+json"
            assert "\n" not in answer.json()["detail"]
        return answer.status_code, answer.json()

    def get(self, path: str, **query: Any) -> Any:
        status, found = self.ask(path, **query)
        assert status == 200, found
        return found

    def all(self, what: str, **query: Any) -> list[Any]:
        return [row for page in self.pages(f"/{what}", **query) for row in page[what]]

    def pages(self, path: str, **query: Any) -> Iterator[Any]:
        page = self.get(path, **query)
        yield page
        while page["next"]:
            page = self.get(page["next"])
            yield page


@pytest.fixture
def api(home: Any) -> Iterator[Api]:
    yield Api()
    if gym := own_brain().gym:
        gym.close()


def gym_of_own() -> Gym:
    gym = own_brain().gym
    assert gym is not None
    return gym


def say(gym: Gym, conversation_id: str, *texts: str, payload: dict[str, Any] | None = None) -> None:
    known = len(gym.messages(conversation_id, 1 << 40, 1 << 40))
    events = [Event("customer_message", text, None, f"m{known + n}", payload or {}) for n, text in enumerate(texts)]
    gym.append(conversation_id, events, "default")


def turns(decisions: list[Any]) -> list[tuple[str, int]]:
    return [(one["conversation_id"], one["turn"]) for one in decisions]


def test_an_empty_gym_has_empty_pages(api: Api) -> None:
    assert api.get("/decisions") == {"decisions": [], "next": None}
    assert api.get("/conversations") == {"conversations": [], "next": None}
    assert api.ask("/conversations/c1")[0] == 404


def test_without_a_gym_it_says_so(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RL_GYM_ENABLED", "false")
    for path in ("/decisions", "/conversations", "/conversations/c1"):
        status, problem = api.ask(path)
        assert status == 503 and "RL_GYM_ENABLED" in problem["detail"]


def test_every_filter_finds_what_it_says_and_pages_hold_each_once(api: Api, observed: Observed) -> None:
    talks = bundled(12)
    for message in (message for talk in talks[::2] for message in talk["messages"]):
        message.pop("labels", None)
    observed(talks)
    faulty = (talks[3]["conversation_id"], 0)
    fault = json.dumps([{"step": "goals", "kind": "AnswerError", "message": "none"}])
    with gym_of_own().writing():
        gym_of_own().connection.execute(
            "UPDATE brain_decisions SET faults = ? WHERE conversation_id = ? AND turn = ?", (fault, *faulty)
        )
    everything = api.all("decisions", limit=100)
    assert [one["created_at"] for one in everything] == sorted((o["created_at"] for o in everything), reverse=True)
    kinds = {one["intent"] for one in everything}
    with_label = {talk["conversation_id"] for talk in talks[1::2]}
    labelled = [one["conversation_id"] in with_label for one in everything]
    middle = everything[len(everything) // 2]["created_at"]
    wanted: list[tuple[dict[str, Any], list[Any]]] = [
        ({}, everything),
        ({"profile": "none"}, []),
        ({"labelled": "true"}, list(compress(everything, labelled))),
        ({"labelled": "false"}, [one for one in everything if one["conversation_id"] not in with_label]),
        ({"module": "intent", "version": "v0.0"}, everything),
        ({"module": "intent", "version": "v0.1"}, []),
        ({"faults": "true"}, [one for one in everything if (one["conversation_id"], one["turn"]) == faulty]),
        ({"faults": "false"}, [one for one in everything if (one["conversation_id"], one["turn"]) != faulty]),
        ({"since": middle}, [one for one in everything if one["created_at"] >= middle]),
        ({"until": middle}, [one for one in everything if one["created_at"] < middle]),
        *(({"intent": kind}, [one for one in everything if one["intent"] == kind]) for kind in kinds),
        *(({"conversation_id": c}, [o for o in everything if o["conversation_id"] == c]) for c in
          {one["conversation_id"] for one in everything}),
    ]  # fmt: skip
    assert len(kinds) > 2
    for query, expected in wanted:
        assert turns(api.all("decisions", limit=3, **query)) == turns(expected), query
    with_fault = api.all("conversations", faults="true")
    assert [(one["conversation_id"], one["faulty"]) for one in with_fault] == [(faulty[0], 1)]
    assert faulty[0] not in [one["conversation_id"] for one in api.all("conversations", faults="false")]


def test_what_is_new_or_erased_moves_no_page(api: Api, observed: Observed) -> None:
    observed(6)
    gym = gym_of_own()
    before = turns(api.all("decisions")), [one["conversation_id"] for one in api.all("conversations")]
    seen: tuple[list[Any], list[Any]] = [], []
    for more, page in enumerate(api.pages("/decisions", limit=2)):
        seen[0].extend(turns(page["decisions"]))
        say(gym, f"new{more}", "hello")
        if more == 0:
            forget(own_brain(), [seen[0][-1][0]], rewrite=True)  # the row that the cursor names, and all rows move
    gone = seen[0][1][0]
    assert [one for one in seen[0] if one[0] != gone] == [one for one in before[0] if one[0] != gone]
    for more, page in enumerate(api.pages("/conversations", limit=2)):
        seen[1].extend(one["conversation_id"] for one in page["conversations"])
        say(gym, f"newer{more}", "hello")
    assert [one for one in seen[1] if not one.startswith("new")] == [one for one in before[1] if one != gone]
    assert len(seen[1]) == len(set(seen[1]))


def test_a_conversation_has_all_that_is_known_of_it(api: Api, observed: Observed) -> None:
    talk = bundled(1)[0]
    observed([talk])
    gym = gym_of_own()
    name = talk["conversation_id"]
    gym.learn(name, [Event("label", payload={"turn": 0, "fields": {"intent": "x"}, "author": "Kim"})], "default")
    reply = next(e for e in gym.messages(name, 99, 99) if e.kind == "agent_message" and e.turn == 0)
    gym.suggest(name, reply, {
        "profile": "default", "original_message": reply.text, "personalized_message": "Hi Ines.", "status": "accepted",
        "modifications": ["added_name"], "confidence": 0.5, "reasoning": "", "version": "v0.0", "model": "m",
        "tokens": 1, "ms": 1.0,
    })  # fmt: skip
    summary = api.get("/conversations")["conversations"][0]
    whole = api.get(f"/conversations/{name}", limit=200)
    customers = [message["text"] for message in talk["messages"] if message["role"] == "customer"]
    assert summary == {key: whole[key] for key in summary}
    assert (summary["turns"], summary["waiting"], summary["faulty"]) == (len(customers), 0, 0)
    assert summary["workflow_outcome"] == talk["outcome"]["workflow_outcome"] and summary["is_closed"]
    assert [one["text"] for one in whole["happened"] if one["kind"] == "customer_message"] == customers
    assert [one["turn"] for one in whole["seen"]] == list(range(len(customers)))
    first = whole["seen"][0]
    decision = gym.decision(name, 0)
    assert decision and first["decision"]["readings"].keys() == decision.readings.keys()
    assert first["decision"]["checkpoint_id"]
    human = [one for one in first["evidence"] if one["source"] == "human" and one["field"] == "intent"]
    assert (human[-1]["value"], human[-1]["author"]) == ("x", "Kim")
    suggested = [one["suggestion"]["personalized_message"] for one in whole["happened"] if one["suggestion"]]
    assert suggested == ["Hi Ines."]
    paged = [one for page in api.pages(f"/conversations/{name}", limit=2) for one in page["happened"]]
    assert paged == whole["happened"]
    assert api.get(f"/conversations/{name}", turn=1)["happened"][0]["text"] == customers[1]
    assert api.ask(f"/conversations/{name}", turn=99)[0] == 404


def test_conversations_are_found_by_what_became_of_them(api: Api, observed: Observed) -> None:
    observed(8)
    gym = gym_of_own()
    say(gym, "waits-%", "hello", "hello?")
    everything = api.all("conversations")
    assert everything[0] | {"conversation_id": "waits-%", "turns": 2, "waiting": 2, "is_closed": False} == everything[0]
    for outcome in ("success", "failure", "abandoned"):
        expected = [one for one in everything if one["workflow_outcome"] == outcome]
        assert api.all("conversations", outcome=outcome, limit=2) == expected
    assert api.all("conversations", outcome="open") == [one for one in everything if not one["is_closed"]]
    assert api.all("conversations", prefix="waits-%") == everything[:1]
    assert api.all("conversations", prefix="%") == []
    assert api.all("conversations", profile="default", limit=3) == everything


@pytest.mark.parametrize("name", HOSTILE)
def test_an_id_may_be_anything(api: Api, name: str) -> None:
    say(gym_of_own(), name, name)
    assert [one["conversation_id"] for one in api.all("conversations", prefix=name)] == [name]
    found = api.get(f"/conversations/{quote(name, safe='')}")
    assert (found["conversation_id"], found["happened"][0]["text"]) == (name, name)
    assert api.ask(f"/conversations/{quote(name + 'x', safe='')}")[0] == 404


def test_a_long_text_is_cut_in_lists_and_whole_in_its_conversation_which_pages(api: Api) -> None:
    text, state = "ä" * 90_000, {"note": "x" * 90_000}
    say(gym_of_own(), "long", *[text] * 20, payload={"state": state})
    assert len(api.get("/conversations")["conversations"][0]["first_message"]) <= 500
    pages = list(api.pages("/conversations/long", limit=200))
    assert len(pages) > 2 and max(len(json.dumps(page, ensure_ascii=False)) for page in pages) < 1_200_000
    happened = [one for page in pages for one in page["happened"]]
    assert [one["text"] for one in happened] == [text] * 20 and happened[0]["payload"]["state"] == state


def test_a_decision_whose_texts_are_long_is_cut_and_says_so(api: Api, observed: Observed) -> None:
    messages = [{"role": "customer", "text": f"book {'x' * 3000}"}, {"role": "agent", "text": "y" * 3000}]
    observed([{"conversation_id": "c1", "messages": messages, "outcome": None}])
    decision = api.get("/decisions")["decisions"][0]
    assert decision["cut"] and max(len(decision[name]) for name in ("user_message", "response_sent")) == 500
    with gym_of_own().writing():
        gym_of_own().connection.execute(
            "UPDATE brain_decisions SET readings = json_set(readings, '$.intent.fields.intent', ?)", ("z" * 2000,)
        )
    assert len(api.get("/decisions")["decisions"][0]["readings"]["intent"]["fields"]["intent"]) == 500


def test_a_page_of_decisions_ends_before_it_is_large(api: Api, observed: Observed) -> None:
    observed(12)
    everything = turns(api.all("decisions"))
    issues = json.dumps(["z" * 2000] * 100)
    with gym_of_own().writing():
        gym_of_own().connection.execute(
            "UPDATE brain_decisions SET readings = json_set(readings, '$.quality.fields.issues', json(?))", (issues,)
        )
    pages = list(api.pages("/decisions", limit=100))
    assert len(pages) > 1 and max(len(json.dumps(page)) for page in pages) < 1_200_000
    assert [one for page in pages for one in turns(page["decisions"])] == everything


@pytest.mark.parametrize(
    "path, said",
    [
        ("/decisions?before=1", "query.before"),
        ("/decisions?before=2026~", "query.before"),
        ("/decisions?limit=0", "query.limit"),
        ("/decisions?limit=101", "query.limit"),
        ("/decisions?limit=x", "query.limit"),
        ("/decisions?since=yesterday", "must be a time"),
        ("/decisions?since=0001-01-01T00:00:00%2B14:00", "must be a time"),
        ("/decisions?module=intent", "go together"),
        ("/decisions?module=intent&version=latest", "query.version"),
        ("/decisions?intention=x", "query.intention"),
        ("/conversations?before=0", "query.before"),
        (f"/conversations?before={2**63}", "query.before"),
        ("/conversations?outcome=won", "query.outcome"),
        (f"/conversations?prefix={'x' * 201}", "query.prefix"),
        ("/conversations/c1?after=-2", "query.after"),
        (f"/conversations/c1?turn={2**63}", "query.turn"),
    ],
)
def test_a_wrong_question_is_told_what_is_wrong(api: Api, path: str, said: str) -> None:
    status, problem = api.ask(path)
    assert status == 422 and said in problem["detail"] and len(problem["detail"]) < 700
