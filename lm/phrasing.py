"""Free text without a model: quotes from the conversation, replies found in the instruction or the examples."""

from collections.abc import Sequence
from typing import NamedTuple

from understudy.lm.evidence import Book, Hits
from understudy.lm.likeness import Near
from understudy.lm.words import STOP_WORDS, Scene, clean, read_text

AROUND = 5
LONGEST_QUOTE = 160
LONGEST_REPLY = 600
ALIKE = 0.2


class Found(NamedTuple):
    """A phrase and the text it was found in."""

    phrase: str
    text: str


def quote(found: Found) -> str:
    """Quote the words around a phrase in the text it was found in."""
    read = read_text(found.text)
    words = tuple(found.phrase.split())
    for i in range(len(read.stems) - len(words) + 1):
        if read.stems[i : i + len(words)] == words:
            return clean(" ".join(read.spoken[max(0, i - AROUND) : i + len(words) + AROUND]))[:LONGEST_QUOTE]
    return clean(found.text[:LONGEST_QUOTE])


def explain(scene: Scene, support: Sequence[Found]) -> str:
    """Quote what carried the decision, or what there was to go by when nothing did."""
    quotes = list(dict.fromkeys(quote(found) for found in support[:3]))
    if quotes:
        return "It was said: " + "; ".join(f'"{words}"' for words in quotes) + "."
    gist = clean(scene.message[:LONGEST_QUOTE])
    return f'Nothing else to go by than "{gist}".' if gist else "There are no words to go by."


def propose(name: str, book: Book, scene: Scene, hits: Hits, near: Sequence[Near]) -> str:
    """Give the reply that fits best: from the instruction, an example, the agent's own lines, or composed."""
    quoted = _from_instruction(book, scene, hits)
    if quoted:
        return clean(quoted)
    for example in near[:3]:
        text = example.answer.get(name)
        if isinstance(text, str) and example.likeness >= ALIKE:
            return clean(text[:LONGEST_REPLY])
    for action, text in scene.replies:
        if action == scene.step:
            return clean(text[:LONGEST_REPLY])
    return _compose(book, scene)


def _from_instruction(book: Book, scene: Scene, hits: Hits) -> str:
    facts = {fact.lower() for fact in scene.facts}
    ranked = []
    for i, reply in enumerate(book.rules.replies):
        bound, cued = len(reply.bound & facts), sum(cue in hits.places for cue in reply.cues)
        bound += scene.step.lower() in reply.bound
        if bound or cued or not (reply.bound or reply.cues):
            ranked.append((bound + 0.6 * cued, -i, reply.text))
    return max(ranked)[2] if ranked else ""


def _compose(book: Book, scene: Scene) -> str:
    """Make a plain sentence of the step's meaning and the customer's own words."""
    about = [word for word in read_text(scene.message).spoken if len(word) > 2 and word.lower() not in STOP_WORDS]
    topic = clean(" ".join(about[:4]))[:LONGEST_QUOTE]
    meaning = book.rules.meanings.get(scene.step) or scene.step.replace("_", " ")
    words = clean(meaning[:LONGEST_QUOTE]).rstrip(".").split()
    if "ask" in words:
        rest = " ".join(words[words.index("ask") + 1 :]).removeprefix("for ") or "a little more"
        wish = f"could you tell me {rest}, please?"
    else:
        wish = f"I will {' '.join(words)} now." if words else "could you tell me a little more, please?"
    return f"About {topic}: {wish}" if topic else wish[0].upper() + wish[1:]
