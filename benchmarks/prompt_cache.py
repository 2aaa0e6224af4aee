"""How much of its prompts must a local model server really read? `python benchmarks/prompt_cache.py [--file F]`.

A slot of a server keeps what it has read and skips it when the next prompt begins alike. Here five modules read the
turns of recorded conversations from simulated servers; nothing is downloaded and no model runs. The policies are those
of ggml-org/llama.cpp (tools/server/server-context.cpp, tools/server/server-task.cpp) and of Ollama's own runner
(ollama/ollama, runner/ollamarunner/cache.go). In the snapshot of August 2026 Ollama has dropped that runner and starts
llama.cpp's server with `-np` (llm/llama_server.go), so its installations follow either, by age.
"""

import argparse
import json
import os
import random
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cache, partial
from importlib.util import find_spec
from itertools import islice
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

import dspy
import tiktoken

from understudy.demo import BUNDLED
from understudy.lm import adapter
from understudy.lm.prompt import chat
from understudy.nodes.modules import MODULES, READERS
from understudy.profile import load_profile
from understudy.settings import Settings

SLOTS = (1, 4, 8)
CONVERSATIONS = (1, 20)
SHORT, LONG = None, 300
ANSWER_TOKENS = 60
"""Tokens of an answer; they stay in the slot behind the prompt."""

MEASURED_TURNS = 100
"""The beginnings of 20 conversations: about as much conversation beside the instruction as was measured."""

HOST_TOKENS = 60_000
"""What 8,192 MiB (llama.cpp's default) hold at 140 kB a token: gemma3:4b or qwen3:8b, 16-bit."""

Tokens = Sequence[int | str]
Turn = dict[str, Any]
Asked = tuple[list[str], str]
Form = Callable[[type[dspy.Signature], dict[str, Any]], str]


def main() -> None:
    """Print the table and the comparison with a real server."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--file", type=Path, default=BUNDLED, help="conversations, as `understudy replay` takes them")
    parser.add_argument("--turns", type=int, default=MEASURED_TURNS, help="turns per cell")
    args = parser.parse_args()
    table(args.file, args.turns)
    validate(args.file)


# Servers


class Slot:
    """A place where one prompt is read at a time, and what it still holds."""

    def __init__(self) -> None:
        self.held = ""
        self.busy = False
        self.last_used = -1


class Server:
    """What the servers share: slots are taken, read with and freed.

    Prompts sent at once arrive and end in an order of chance (the same in every run): answers differ in length.
    """

    def __init__(self, slots: int) -> None:
        self.slots = [Slot() for _ in range(slots)]
        self.clock = 0
        self.chance = random.Random(0)

    def read(self, tokens: Tokens) -> int:
        """Return how many tokens of one prompt must be read, at least 1; in a str every character is a token."""
        return self.read_together([tokens])[0]

    def read_together(self, prompts: Sequence[Tokens]) -> list[int]:
        """Return the same for prompts that are sent at once; one without a slot waits until another has ended."""
        taken: list[tuple[Slot, str]] = []
        numbers = [0] * len(prompts)
        for place in self.chance.sample(range(len(prompts)), len(prompts)):
            if len(taken) == len(self.slots):
                self._free(*taken.pop(self.chance.randrange(len(taken))))
            prompt = encode(prompts[place])
            slot = self._take(prompt)
            numbers[place] = max(1, len(prompt) - common(slot.held, prompt))
            taken.append((slot, prompt))
        for slot, prompt in self.chance.sample(taken, len(taken)):
            self._free(slot, prompt)
        return numbers

    def _take(self, prompt: str) -> Slot:
        """Return a slot that is now busy, holding what the prompt can use."""
        raise NotImplementedError

    def _free(self, slot: Slot, prompt: str) -> None:
        """Let go of a slot that has read the prompt and said something that no other slot holds."""
        self.clock += 1
        slot.held = prompt + chr(FIRST_ANSWER + self.clock) * ANSWER_TOKENS
        slot.busy, slot.last_used = False, self.clock

    def _idle(self) -> list[Slot]:
        return [slot for slot in self.slots if not slot.busy]


class LlamaServer(Server):
    """llama.cpp's server: the slot that is most alike, else the least recently used, and a second store in memory.

    Source: tools/server/server-context.cpp (`get_available_slot`, the saving of idle slots) and common/common.h
    (`slot_prompt_similarity`, `cache_ram_mib`, `cache_idle_slots`). With `unified`, which the server chooses itself
    when no `-np` is given, idle slots are emptied once they are saved; without it they keep what they hold.
    """

    ALIKE = 0.1
    WORTH_KEEPING = 0.5

    def __init__(self, slots: int, host_tokens: int, unified: bool = False) -> None:
        super().__init__(slots)
        self.host = HostCache(host_tokens) if host_tokens else None
        self.unified = unified

    def _take(self, prompt: str) -> Slot:
        idle = self._idle()
        slot = max(idle, key=lambda one: common(one.held, prompt))
        shared = common(slot.held, prompt)
        if alike := shared > self.ALIKE * len(prompt):
            leaves_much = shared < self.WORTH_KEEPING * len(slot.held)
        else:
            slot = min(reversed(idle), key=lambda one: one.last_used)
        if self.host and (not alike or leaves_much):
            self.host.save(slot.held)
            slot.held = self.host.load(slot.held, prompt)
        slot.busy = True
        self._save_idle()
        return slot

    def _save_idle(self) -> None:
        if self.host is None:
            return
        for slot in self._idle():
            self.host.save(slot.held)
            if self.unified:
                slot.held = ""


class HostCache:
    """llama.cpp's store of prompts outside the slots, oldest first.

    Source: `server_prompt_cache` in tools/server/server-task.cpp. What is loaded leaves the store. One prompt replaces
    another only if more of it can be kept (at least a quarter) and more of the new prompt is there.
    """

    LEAST_KEPT = 0.25

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.prompts: list[str] = []

    def save(self, held: str) -> None:
        """Store a prompt that is not part of a stored one; drop those that are part of it, and the oldest beyond."""
        if not held or any(prompt.startswith(held) for prompt in self.prompts):
            return
        self.prompts = [prompt for prompt in self.prompts if not held.startswith(prompt)] + [held]
        size = sum(map(len, self.prompts))
        while size > self.limit:
            size -= len(self.prompts.pop(0))

    def load(self, held: str, prompt: str) -> str:
        """Return what a slot holds that had `held` and may now take a stored prompt for it."""
        shared = common(held, prompt)
        kept, best = shared / len(held) if held else -1.0, None
        for number, stored in enumerate(self.prompts):
            now = common(stored, prompt)
            if now / len(stored) > max(kept, self.LEAST_KEPT) and now > shared:
                kept, shared, best = now / len(stored), now, number
        return held if best is None else self.prompts.pop(best)


class OllamaRunner(Server):
    """Ollama's own runner, for one user: the idle slot with the longest common beginning, the first one of equals.

    Source: `LoadCacheSlot` and `findLongestCacheSlot`, runner/ollamarunner/cache.go. An empty slot is taken only when
    no idle one begins alike, be it by the first mark of the chat template. OLLAMA_MULTIUSER_CACHE would call
    `findBestCacheSlot` instead, which copies the common beginning into the oldest slot.
    """

    def _take(self, prompt: str) -> Slot:
        slot = max(self._idle(), key=lambda one: common(one.held, prompt))
        slot.busy = True
        return slot


def common(one: str, other: str) -> int:
    """Return the length of the longest common beginning."""
    longest = min(len(one), len(other))
    step = low = 0
    while low < longest:
        step = min(max(16, 2 * low), longest)
        if one[low:step] != other[low:step]:
            break
        low = step
    high = step
    while low < high:
        middle = (low + high + 1) // 2
        if one[low:middle] == other[low:middle]:
            low = middle
        else:
            high = middle - 1
    return low


def simulate(server: Server, turns: Iterable[Asked]) -> tuple[int, int]:
    """Return the tokens that were read and that were sent; the readers of a turn go together, the response after."""
    read = sent = 0
    for readers, response in turns:
        together, last = [tokens_of(text) for text in readers], tokens_of(response)
        read += sum(server.read_together(together)) + server.read(last)
        sent += sum(map(len, together)) + len(last)
    return read, sent


# Tokens

FIRST_ANSWER = 0x20000
_known: dict[int | str, str] = {}


@cache
def vocabulary() -> tiktoken.Encoding:
    """Return cl100k_base, a tokenizer whose vocabulary comes with litellm; those of local models are of its kind."""
    found = find_spec("litellm")
    assert found is not None and found.origin is not None
    os.environ["TIKTOKEN_CACHE_DIR"] = str(Path(found.origin).parent / "litellm_core_utils" / "tokenizers")
    return tiktoken.get_encoding("cl100k_base")


def encode(tokens: Tokens) -> str:
    """Write each token as one character, so that beginnings compare fast; a str is taken as written so."""
    if isinstance(tokens, str):
        return tokens
    return "".join([_known.get(token) or _known.setdefault(token, chr(len(_known) + 1)) for token in tokens])


@cache
def tokens_of(text: str) -> str:
    """Return a text's tokens, written as characters."""
    return encode(vocabulary().encode(text, disallowed_special=()))


# Prompts


class Workload(NamedTuple):
    """Which turns are asked in which order, with how long an instruction."""

    path: Path
    conversations: int
    words: int | None
    turns: int


def ours(signature: type[dspy.Signature], inputs: dict[str, Any]) -> str:
    """Write the prompt that the project sends."""
    model: Any = SimpleNamespace(kwargs={}, model="none")
    return joined(chat(adapter._request(model, {}, signature, [], inputs)))


def dspy_default(signature: type[dspy.Signature], inputs: dict[str, Any]) -> str:
    """Write the prompt of `dspy.ChatAdapter`, DSPy's default form."""
    messages = dspy.ChatAdapter().format(signature, [], inputs)
    return joined((message["role"], message["content"]) for message in messages)


def instruction_first(signature: type[dspy.Signature], inputs: dict[str, Any]) -> str:
    """Write instruction, then conversation, and nothing else."""
    return f"{signature.instructions}\n\n{_transcript(inputs)}"


def conversation_first(signature: type[dspy.Signature], inputs: dict[str, Any]) -> str:
    """Write conversation, then instruction, and nothing else."""
    return f"{_transcript(inputs)}\n\n{signature.instructions}"


def _transcript(inputs: dict[str, Any]) -> str:
    said = [*inputs["history"], {"role": "customer", "text": inputs.get("message", "")}]
    return "\n".join(f"{line['role']}: {line['text']}" for line in said if line["text"])


def joined(chat: Iterable[tuple[str, str]]) -> str:
    """Join messages with the marks of a plain chat template."""
    parts = [f"<|im_start|>{role}\n{text}<|im_end|>\n" for role, text in chat]
    return "".join([*parts, "<|im_start|>assistant\n"])


def instruction(name: str, own: str, words: int | None) -> str:
    """Return a module's instruction, its own one lengthened to so many words; without a number as it is."""
    if words is None:
        return own
    chance = random.Random(name)  # seeded by the name: other sentences for each module, the same in every run
    text = own.split()[:words] if len(own.split()) > words else [own]
    sentences = _advice(chance, name)
    while (count := len(" ".join(text).split())) < words:
        text.extend(next(sentences).split()[: words - count])
    return " ".join(text)


def _advice(chance: random.Random, name: str) -> Iterator[str]:
    when = ["When a customer repeats a request", "If an order is late", "Where two readings fit", "After an apology"]
    who = ["a careful reader of", "the person judging", "whoever decides on", "an experienced judge of"]
    does = ["weighs the newest message first", "looks for words of feeling", "compares it with the first message"]
    why = ["because customers seldom say it twice", "since politeness hides trouble", "as short answers mislead"]
    while True:
        parts = [chance.choice(choices) for choices in (when, who, does, why)]
        yield f"{parts[0]}, {parts[1]} {name} {parts[2]}, {parts[3]} (case {chance.randint(1, 999)})."


def prompts(load: Workload, form: Form) -> list[Asked]:
    """Return the prompts of a workload, turn by turn."""
    signatures = _signatures(load)
    asked = []
    for profile, turn in islice(interleaved(load.path, load.conversations), load.turns):
        texts = {name: form(signature, MODULES[name].inputs(turn)) for name, signature in signatures(profile).items()}
        asked.append(([texts[faculty.name] for faculty in READERS], texts["response"]))
    return asked


def _signatures(load: Workload) -> Callable[[str], dict[str, type[dspy.Signature]]]:
    @cache
    def of(profile: str) -> dict[str, type[dspy.Signature]]:
        signatures = {name: faculty.signature(load_profile(profile)) for name, faculty in MODULES.items()}
        return {
            name: one.with_instructions(instruction(name, one.instructions, load.words))
            for name, one in signatures.items()
        }

    return of


# Turns


def interleaved(path: Path, conversations: int) -> Iterator[tuple[str, Turn]]:
    """Yield profile and turn, one turn of each running conversation after the other; an ended one makes room."""
    waiting = (json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line.strip())
    running = [turns_of(line) for line in islice(waiting, conversations)]
    while running:
        for place, turns in reversed(list(enumerate(running))):
            if (turn := next(turns, None)) is not None:
                yield turn
            elif (line := next(waiting, None)) is not None:
                running[place] = turns_of(line)
            else:
                del running[place]


def turns_of(conversation: dict[str, Any]) -> Iterator[tuple[str, Turn]]:
    """Yield profile and turn for each customer message of a recorded conversation."""
    limit = Settings.model_fields["brain_history_messages"].default
    lines: list[dict[str, str]] = []
    for said, after in zip(conversation["messages"], [*conversation["messages"][1:], {}], strict=True):
        line = {key: said[key] for key in ("role", "text", "action") if said.get(key)}
        if line["role"] == "customer":
            history = lines[:1] + lines[1:][-limit:]
            readings = _readings(said.get("labels") or {}, after.get("action"), len(lines))
            turn = {"history": history, "message": line["text"], "state": {}, "readings": readings}
            yield conversation.get("profile") or "default", turn
        lines.append(line)


def _readings(labels: dict[str, Any], next_step: str | None, number: int) -> dict[str, Any]:
    """Return what the readers may have said of a turn: its labels, and confidences that change from turn to turn."""
    sure = [round(0.4 + (number * prime % 59) / 100, 4) for prime in (17, 23)]
    conflict = {"conflict_type": labels.get("conflict_type", "none"), "confidence": sure[0]}
    intent = {"intent": labels.get("intent", "unclear"), "next_step": next_step or "close", "confidence": sure[1]}
    fields = {"conflict": conflict, "intent": intent, "goals": {"sub_goals": labels.get("sub_goals") or []}}
    return {name: {"fields": values} for name, values in fields.items()}


# Tables

POLICIES: dict[str, Callable[[int], Server]] = {
    "llama.cpp, host cache": partial(LlamaServer, host_tokens=HOST_TOKENS),
    "llama.cpp, slots only": partial(LlamaServer, host_tokens=0),
    "Ollama's own runner": OllamaRunner,
}
MEASURED = {60: ((871, 2851), (2215, 3016)), 300: ((750, 8893), (8414, 9058))}
"""Words of an instruction: tokens read and sent a turn, instruction first and conversation first."""


def table(path: Path, turns: int) -> None:
    """Print what is read of what is sent, for the project's prompts and for DSPy's default form."""
    print(f"tokens of prompts that a server reads, a turn of {len(MODULES)} prompts; {turns} turns of {path.name}")
    print(f"{'slots':>5}{'convs':>6}  {'instruction':<12}{'policy':<23}", end="")
    print(f"{'ours sent':>10}{'read':>7}{'share':>7}{'DSPy sent':>11}{'read':>7}{'share':>7}{'ours/DSPy':>11}")
    asked = {
        (conversations, words, form): prompts(Workload(path, conversations, words, turns), form)
        for conversations in CONVERSATIONS
        for words in (SHORT, LONG)
        for form in (ours, dspy_default)
    }
    for slots in SLOTS:
        for conversations in CONVERSATIONS:
            for words in (SHORT, LONG):
                for policy, server in POLICIES.items():
                    mine = simulate(server(slots), asked[conversations, words, ours])
                    theirs = simulate(server(slots), asked[conversations, words, dspy_default])
                    length = f"{words} words" if words else "short"
                    print(f"{slots:>5}{conversations:>6}  {length:<12}{policy:<23}", end="")
                    print(f"{_cells(mine, turns, 10)}{_cells(theirs, turns, 11)}{mine[0] / theirs[0]:>11.2f}")
    print()


def _cells(found: tuple[int, int], turns: int, width: int) -> str:
    read, sent = found
    return f"{sent / turns:>{width},.0f}{read / turns:>7,.0f}{read / sent:>7.0%}"


def validate(path: Path) -> None:
    """Print the simulation beside a real llama.cpp server: 4 slots, 20 interleaved conversations of STAR."""
    print(
        f"share of tokens read, 4 slots, {MEASURED_TURNS} turns of 20 conversations, instruction and conversation alone"
    )
    print(f"{'':<24}{'instruction first':>24}{'conversation first':>24}")
    unified: Callable[[int], Server] = partial(LlamaServer, host_tokens=HOST_TOKENS, unified=True)
    policies = {**POLICIES, "llama.cpp, unified": unified}
    for words, shares in MEASURED.items():
        print(f"{f'{words} words, measured':<24}" + "".join(f"{read / sent:>24.0%}" for read, sent in shares))
        for policy, server in policies.items():
            row = ""
            for form in (instruction_first, conversation_first):
                read, sent = simulate(server(4), prompts(Workload(path, 20, words, MEASURED_TURNS), form))
                row += f"{read / sent:>24.0%}"
            print(f"  {policy:<22}{row}")


if __name__ == "__main__":
    main()
