"""The test server itself: it must speak as Ollama does, or the tests that rely on it mean nothing."""

import json
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import httpx
import ollama
import pytest
from hypothesis import given
from hypothesis import strategies as st

from understudy.lm.embedded import EmbeddedStudent
from understudy.lm.prompt import FORM_START, written
from understudy.tests.ollama.faults import ANSWER_FAULTS, FAULTS, spoiled
from understudy.tests.ollama.model import Model
from understudy.tests.ollama.reply import FREE_TEXT, read_inputs
from understudy.tests.ollama.server import OllamaServer
from understudy.tests.ollama.wire import BUSY, MID_ERROR, NO_MEMORY

SCHEMA = {
    "$defs": {"Kind": {"type": "string", "enum": ["frustration", "off_topic", "none"]}},
    "type": "object",
    "properties": {
        "conflict_type": {"$ref": "#/$defs/Kind"},
        "confidence": {"type": "number", "minimum": 0, "maximum": 1},
        "reasoning": {"type": "string"},
    },
    "required": ["conflict_type", "confidence", "reasoning"],
}
ANSWER = json.dumps({"conflict_type": "off_topic", "confidence": 0.9, "reasoning": "It is about the weather."})
ASK = {"model": "gemma3:4b", "messages": [{"role": "user", "content": '{"message": "Nice weather."}'}]}


def fixed(messages, form, options):
    return ANSWER


@pytest.fixture
def server():
    with OllamaServer(reply=fixed) as server:
        yield server
    assert server.crashes == []


@pytest.fixture
def http(server):
    with httpx.Client(base_url=server.url, timeout=5) as http:
        yield http


def chat(http, **more):
    return http.post("/api/chat", json={**ASK, "stream": False, "format": SCHEMA, **more})


def lines(response):
    return [json.loads(line) for line in response.text.splitlines()]


def refused(response, status, text):
    assert (response.status_code, response.json()) == (status, {"error": text})


def test_the_ollama_client_can_do_everything_it_needs_to(server):
    client = ollama.Client(server.url)
    with client._client:
        whole = client.chat(model="llama3.2", messages=ASK["messages"], format=SCHEMA, options={"num_ctx": 8192})
        parts = list(client.chat(model="llama3.2", messages=ASK["messages"], stream=True, options={"num_ctx": 8192}))
        assert whole.message.content == "".join(part.message.content for part in parts) == ANSWER
        assert len(parts) > 4 and parts[-1].done and parts[-1].done_reason == "stop"
        assert [part.done for part in parts[:-1]] == [False] * (len(parts) - 1)
        assert parts[-1].eval_count == -(-len(ANSWER) // 4) and parts[-1].prompt_eval_count > 0
        assert parts[-1].total_duration >= parts[-1].load_duration > 0 and parts[-1].eval_duration > 0
        assert [one.model for one in client.list().models] == ["gemma3:4b", "qwen3:8b", "llama3.2:latest"]
        [running] = client.ps().models
        assert (running.model, running.context_length) == ("llama3.2:latest", 8192)
        shown = client.show("qwen3:8b")
        assert shown.modelinfo["qwen3.context_length"] == 32768 and shown.capabilities == ["completion", "thinking"]
        assert client.generate(model="gemma3:4b", prompt="{}", format=SCHEMA).response == ANSWER
        with pytest.raises(ollama.ResponseError, match="model 'nope' not found") as error:
            client.chat(model="nope", messages=[])
        assert error.value.status_code == 404
        server.play("error_mid")
        with pytest.raises(ollama.ResponseError, match=MID_ERROR):
            list(client.chat(model="llama3.2", messages=ASK["messages"], stream=True))


def test_pages_without_a_body(server, http):
    assert http.get("/").text == "Ollama is running" and http.head("/").status_code == 200
    assert http.get("/api/version").json()["version"]
    assert (http.get("/api/nope").status_code, http.get("/api/nope").text) == (404, "404 page not found")
    assert (http.get("/api/chat").status_code, http.get("/api/chat").text) == (405, "405 method not allowed")
    assert [(seen.method, seen.path) for seen in server.requests[:3]] == [
        ("GET", "/"),
        ("HEAD", "/"),
        ("GET", "/api/version"),
    ]


def test_a_model_is_loaded_again_only_when_its_runner_options_change(server, http):
    assert server.loaded == {}
    for num_ctx in (2048, 2048, 4096, 99_999_999):
        assert chat(http, options={"num_ctx": num_ctx, "temperature": 0}).status_code == 200
    assert server.loaded == {"gemma3:4b": 32768} and server.loads == {"gemma3:4b": 3}
    done = http.post("/api/generate", json={"model": "gemma3:4b", "keep_alive": 0, "stream": False}).json()
    assert (done["done_reason"], done["response"], server.loaded) == ("unload", "", {})
    done = http.post("/api/generate", json={"model": "llama3.2"}).json()
    assert (done["done_reason"], done["done"], server.loaded) == ("load", True, {"llama3.2:latest": 4096})
    assert chat(http, messages=[]).json()["done_reason"] == "load"
    assert http.post("/api/generate", json={"model": "gemma3:4b", "prompt": "{}", "keep_alive": "0s"}).is_success
    assert list(server.loaded) == ["llama3.2:latest"]
    chat(http, keep_alive=-1)
    assert [one["expires_at"][:2] for one in http.get("/api/ps").json()["models"] if "gemma" in one["name"]] == ["23"]


def test_loading_takes_its_time_once():
    with OllamaServer(reply=fixed, load_seconds=0.2) as server, httpx.Client(base_url=server.url) as http:
        first, second = chat(http).json(), chat(http).json()
    assert first["load_duration"] > 190_000_000 > second["load_duration"]


@pytest.mark.parametrize(
    ("body", "text"),
    [
        (b"", "missing request body"),
        (b'{"model": ', "unexpected EOF"),
        (b'{"model": nope}', "invalid character 'n' looking for beginning of value"),
        (b'{"model": NaN}', "invalid character 'N' looking for beginning of value"),
        (b"[]", "json: cannot unmarshal array into Go value of type api.ChatRequest"),
        (b"{}", "model is required"),
        (b'{"model": null}', "model is required"),
        (b'{"model": "a b"}', "invalid model name"),
        (b'{"model": 3}', "json: cannot unmarshal number into Go struct field ChatRequest.model of type string"),
        (b'{"stream": "no"}', "json: cannot unmarshal string into Go struct field ChatRequest.stream of type bool"),
        (
            b'{"messages": "hi"}',
            "json: cannot unmarshal string into Go struct field ChatRequest.messages of type []api.Message",
        ),
        (
            b'{"messages": ["hi"]}',
            "json: cannot unmarshal string into Go struct field ChatRequest.messages of type api.Alias",
        ),
        (
            b'{"messages": [{"role": "user", "content": ["hi"]}]}',
            "json: cannot unmarshal array into Go struct field ChatRequest.messages.content of type string",
        ),
        (
            b'{"options": [1]}',
            "json: cannot unmarshal array into Go struct field ChatRequest.options of type map[string]interface {}",
        ),
    ],
)
def test_a_bad_body_is_refused_in_the_words_of_the_real_server(http, body, text):
    refused(http.post("/api/chat", content=body), 400, text)


def test_bad_values_are_refused_and_unknown_names_only_noted(server, http):
    refused(chat(http, model="nope"), 404, "model 'nope' not found")
    refused(http.post("/api/show", json={"model": "nope"}), 404, "model 'nope:latest' not found")
    refused(http.post("/api/generate", json={}), 404, "model '' not found")
    refused(chat(http, think=True), 400, '"gemma3:4b" does not support thinking')
    refused(chat(http, keep_alive="5"), 400, 'time: missing unit in duration "5"')
    refused(chat(http, keep_alive="soon"), 400, 'time: invalid duration "soon"')
    refused(chat(http, keep_alive=True), 400, "Unsupported type: 'bool'")
    refused(chat(http, options={"num_ctx": "8k"}), 500, 'option "num_ctx" must be of type integer')
    refused(chat(http, options={"temperature": True}), 500, 'option "temperature" must be of type float32')
    refused(chat(http, options={"stop": "x"}), 500, 'option "stop" must be of type array')
    refused(chat(http, format="xml"), 500, 'invalid format: "\\"xml\\""; expected "json" or a valid JSON Schema object')
    assert chat(http, think=False, keep_alive="1h30m", format="json", options={"stop": ["x"]}).is_success
    assert server.warnings == []
    assert chat(http, options={"num_cxt": 1}, respose_format={}).is_success
    assert server.warnings == [
        "unknown field 'respose_format' of ChatRequest",
        'invalid option provided option="num_cxt"',
    ]


def test_a_thinking_model_thinks_unless_told_not_to(http):
    for think, thinks in (({}, True), ({"think": True}, True), ({"think": "low"}, True), ({"think": False}, False)):
        whole = chat(http, model="qwen3:8b", **think).json()["message"]
        parts = [one["message"] for one in lines(chat(http, model="qwen3:8b", stream=True, **think))]
        assert whole["content"] == "".join(part["content"] for part in parts) == ANSWER
        assert bool(whole.get("thinking")) is thinks
        assert "".join(part.get("thinking", "") for part in parts) == whole.get("thinking", "")
    assert parts[0].keys() == {"role", "content"}


def test_num_predict_cuts_the_thought_first_and_then_the_answer(http):
    cut = chat(http, options={"num_predict": 5}).json()
    assert (cut["done_reason"], cut["message"]["content"], cut["eval_count"]) == ("length", ANSWER[:20], 5)
    cut = chat(http, model="qwen3:8b", options={"num_predict": 5}).json()
    assert cut["message"]["content"] == "" and len(cut["message"]["thinking"]) == 20
    assert chat(http, options={"num_predict": 500}).json()["done_reason"] == "stop"


def test_a_prompt_that_does_not_fit_loses_its_oldest_messages_in_silence():
    read = []
    with OllamaServer(reply=lambda messages, *_: read.append(messages) or "ok") as server:
        messages = [{"role": "system", "content": "s" * 400}]
        messages += [{"role": "user", "content": str(number) * 400} for number in range(4)]
        answer = httpx.post(
            f"{server.url}/api/chat", json={**ASK, "messages": messages, "stream": False, "options": {"num_ctx": 300}}
        )
    assert answer.json()["message"]["content"] == "ok"
    assert [one["content"][0] for one in read[0]] == ["s", "2", "3"] and server.truncated == [(500, 300)]


# Whatever else ends a line is written as an end of line.
TEXTS = st.text(
    st.characters(codec="utf-8", exclude_characters="\r\v\f\x1c\x1d\x1e\x85\u2028\u2029"), max_size=40
) | st.sampled_from(["a\nmessage: b", "\n", "agent: x\n\n"])
LINES = st.fixed_dictionaries(
    {"role": st.sampled_from(["customer", "agent"]), "text": TEXTS},
    optional={"action": st.from_regex(r"[a-z][a-z_]{0,8}", fullmatch=True)},
)


@given(st.lists(LINES, max_size=4), TEXTS, st.dictionaries(TEXTS, TEXTS, max_size=2))
def test_what_is_written_out_for_a_model_can_be_read_back(history, message, state):
    inputs = {"history": history, "state": state, "message": message}
    assert json.loads(read_inputs(written(inputs), list(inputs))) == inputs


def test_the_embedded_student_answers_the_inputs_and_not_the_complaint(monkeypatch):
    asked = []
    complete = EmbeddedStudent.complete
    monkeypatch.setattr(
        EmbeddedStudent, "complete", lambda self, request: asked.append(request) or complete(self, request)
    )
    messages = [
        {"role": "system", "content": f"Say what is wrong.\n\nBe brief.\n\n{FORM_START}\n- message: text"},
        {"role": "user", "content": "message: I am so angry!"},
        {"role": "assistant", "content": '{"conflict_type": "frustration", "confidence": 0.8, "reasoning": "angry"}'},
        {"role": "user", "content": "message: So angry!"},
        {"role": "assistant", "content": "Sure!"},
        {"role": "user", "content": "That was no JSON. Answer again."},
    ]
    with OllamaServer() as server, httpx.Client(base_url=server.url) as http:
        answer = json.loads(chat(http, messages=messages).json()["message"]["content"])
        assert list(answer) == list(SCHEMA["properties"]) and answer["conflict_type"] == "frustration"
        assert asked[0].system == "Say what is wrong.\n\nBe brief."
        said = [one.text for one in asked[0].messages]
        assert [json.loads(said[0]), json.loads(said[2])] == [{"message": "I am so angry!"}, {"message": "So angry!"}]
        free = chat(http, messages=[{"role": "user", "content": "Write a better instruction."}], format=None)
        assert free.json()["message"]["content"] == FREE_TEXT
        failed = chat(http, messages=messages, format="json")
        assert failed.status_code == 500 and "schema" in failed.json()["error"]


def test_early_faults(server, http):
    def played(kind):
        server.play(kind, times=1)
        return chat(http)

    refused(played("500"), 500, NO_MEMORY)
    refused(played("503"), 503, BUSY)
    refused(played("404"), 404, "model 'gemma3:4b' not found")
    assert played("429").headers["Retry-After"] == "1"
    assert (played("empty_body").status_code, played("empty_body").content) == (200, b"")
    assert played("html").text.startswith("<!DOCTYPE") and "502 Bad" in played("502").text
    assert played("redirect").headers["Location"] == "/elsewhere"
    server.play("redirect", times=1)
    http.post("/api/chat", json=ASK, follow_redirects=True)
    assert server.requests[-1].path == "/elsewhere" and server.requests[-2].fault == "redirect"
    with pytest.raises(httpx.ReadError):
        played("reset")
    assert chat(http).is_success


@pytest.mark.parametrize("stream", [True, False])
def test_faults_on_the_wire(server, http, stream):
    def played(kind):
        server.play(kind, times=1)
        return chat(http, stream=stream)

    with pytest.raises(httpx.RemoteProtocolError):
        played("cut")
    for kind in ("garbage", "no_done"):
        text = played(kind).content
        assert text and not text.endswith(b'"done":true}\n')
        if stream and kind == "no_done":
            assert not any(json.loads(line)["done"] for line in text.splitlines())
        else:
            with pytest.raises(ValueError):
                [json.loads(line) for line in text.splitlines()]
    broken = played("error_mid")
    assert (broken.status_code, json.loads(broken.text.splitlines()[-1])) == (
        200 if stream else 500,
        {"error": MID_ERROR},
    )


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize("kind", ["hang", "hang_mid", "drip", "endless"])
def test_slow_faults_end_when_the_client_leaves_or_the_server_closes(kind, stream):
    before = threading.active_count()
    with OllamaServer(reply=fixed) as server:
        server.play(kind)
        came = _read_for(f"{server.url}/api/chat", stream, seconds=0.3)
        assert (came > 1_000_000) == (kind == "endless") and (came == 0) == (kind == "hang")
        assert _soon(lambda: server._at_once == 0), "the server did not notice that the client left"
        with ThreadPoolExecutor() as pool:
            calls = [pool.submit(_read_for, f"{server.url}/api/chat", stream, 30) for _ in range(3)]
            assert _soon(lambda: server._at_once == 3)
            began = time.monotonic()
            server.close()
            assert time.monotonic() - began < 1
            assert all(isinstance(call.exception(), httpx.TransportError) for call in calls)
    assert _soon(lambda: threading.active_count() == before)
    assert server.crashes == [] and server.most_at_once == 3


def _read_for(url, stream, seconds):
    """Return how many bytes came in that time."""
    came, end = 0, time.monotonic() + seconds
    with (
        suppress(httpx.ReadTimeout),
        httpx.stream("POST", url, json={**ASK, "stream": stream}, timeout=seconds) as reply,
    ):
        for piece in reply.iter_bytes():
            came += len(piece)
            if time.monotonic() > end:
                break
    return came


def _soon(true, seconds=2.0):
    end = time.monotonic() + seconds
    while not true():
        if time.monotonic() > end:
            return False
        time.sleep(0.01)
    return True


def test_faults_in_the_answer_come_as_well_formed_replies(server, http):
    said = {}
    for kind in ANSWER_FAULTS:
        server.play(kind)
        reply = chat(http).json()
        said[kind] = reply["message"]["content"]
        assert said[kind] == spoiled(kind, ANSWER, SCHEMA) != ANSWER
        assert reply["done_reason"] == ("length" if kind == "length" else "stop")
    assert said["empty"] == "" and '"confidence": 0,90' in said["comma"]
    assert said["think"].endswith(ANSWER) and "</think>" not in said["think_open"]
    values = {
        kind: json.loads(text) for kind, text in said.items() if kind in list(ANSWER_FAULTS)[-7:] and kind != "comma"
    }
    assert values["wrong_label"]["conflict_type"] == "no_such_label" and values["out_of_range"]["confidence"] == 761
    assert values["label_case"]["conflict_type"] == "  OFF TOPIC "
    assert "reasoning" not in values["missing_field"] and "note" in values["extra_field"]
    assert values["other_language"]["confidence"] == 0.9
    server.behave()
    assert chat(http).json()["message"]["content"] == ANSWER


def test_faults_come_in_their_share_and_the_same_ones_for_the_same_seed():
    drawn = []
    for _ in range(2):
        with OllamaServer(reply=fixed, seed=7) as server, httpx.Client(base_url=server.url) as http:
            server.play("500", "503", share=0.3)
            for _ in range(100):
                chat(http)
            drawn.append([seen.fault for seen in server.requests])
            server.play("500", path="/api/tags", times=1)
            assert chat(http).is_success and http.get("/api/tags").status_code == 500
            assert http.get("/api/tags").is_success
    assert drawn[0] == drawn[1] and 15 < sum(fault is not None for fault in drawn[0]) < 45
    assert set(drawn[0]) == {None, "500", "503"} and len(set(FAULTS)) == len(FAULTS)
    for kinds, path in ((("nope",), "/api/chat"), (("empty",), "/api/tags")):
        with pytest.raises(ValueError, match=kinds[0]):
            server.play(*kinds, path=path)


def test_a_stopped_server_refuses_connections_and_starts_again_empty_on_the_same_port(server, http):
    url = server.url
    assert chat(http).is_success and server.loaded
    server.stop()
    for _ in range(20):
        with pytest.raises(httpx.ConnectError):
            chat(http)
    server.start()
    assert server.url == url and server.loaded == {} and chat(http).is_success


def test_a_client_that_leaves_while_it_waits_for_its_turn_is_forgotten():
    free = threading.Event()
    with OllamaServer(reply=lambda *_: str(free.wait(5)), parallel=1) as server, ThreadPoolExecutor() as pool:
        first = pool.submit(httpx.post, f"{server.url}/api/chat", json={**ASK, "stream": False})
        assert _soon(lambda: server._at_once == 1)
        with pytest.raises(httpx.ReadTimeout):
            httpx.post(f"{server.url}/api/chat", json=ASK, timeout=0.1)
        assert _soon(lambda: server._at_once == 1) and server.most_at_once == 2
        free.set()
        assert first.result().json()["message"]["content"] == "True"


def test_a_model_may_be_given_whole_and_nonsense_on_the_socket_does_no_harm(capfd):
    tiny = Model("tiny:1b", context_length=512, family="llama", thinking=True)
    with OllamaServer(models=[tiny], reply=fixed) as server:
        host, port = server.url.removeprefix("http://").split(":")
        for nonsense in (b"\x16\x03\x01\x02", b"POST /api/chat HTTP/1.1\r\nContent-Length: 9\r\n\r\n{"):
            with socket.create_connection((host, int(port))) as raw:
                raw.sendall(nonsense)
        shown = httpx.post(f"{server.url}/api/show", json={"model": "tiny:1b"}).json()
        assert shown["model_info"]["llama.context_length"] == 512 and "thinking" in shown["capabilities"]
    assert server.crashes == [] and capfd.readouterr().err == ""
