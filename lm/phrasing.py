"""Free text without a model: quotes from the conversation, replies found in the instruction or the examples."""

from collections.abc import Mapping, Sequence

from understudy.lm.evidence import CLOSE, Book, Hit, Near
from understudy.lm.shape import Field
from understudy.lm.words import STOP_WORDS, Scene, clean, read_text

AROUND = 5
LONGEST_QUOTE = 160


def retrieve(hit: Hit) -> str:
    """Quote the words around a phrase in the text it was found in."""
    read = read_text(hit.text)
    words = hit.phrase.split()
    for i in range(len(read.stems) - len(words) + 1):
        if list(read.stems[i : i + len(words)]) == words:
            return clean(" ".join(read.spoken[max(0, i - AROUND) : i + len(words) + AROUND]))[:LONGEST_QUOTE]
    return clean(hit.text)[:LONGEST_QUOTE]


def explain(scene: Scene, support: Sequence[Hit]) -> str:
    """Quote what carried the decision, or what there was to go by when nothing did."""
    quotes = list(dict.fromkeys(retrieve(hit) for hit in support[:3]))
    if quotes:
        return "It was said: " + "; ".join(f'"{quote}"' for quote in quotes) + "."
    gist = clean(scene.message[:LONGEST_QUOTE])
    return f'Nothing else to go by than "{gist}".' if gist else "There are no words to go by."


def propose(one: Field, book: Book, scene: Scene, hits: Mapping[str, Hit], near: Sequence[Near]) -> str:
    """Give the reply that fits best: from the instruction, an example, the agent's own lines, or composed."""
    quoted = _quoted(book, scene, hits)
    if quoted:
        return quoted
    for one_near in near[:3]:
        given, wanted = book.examples[one_near.number]
        text = wanted.get(one.name)
        if isinstance(text, str) and one_near.likeness >= CLOSE / 2:
            return text
    for action, text in scene.replies:
        if action == scene.step:
            return clean(text)[:400]
    return _compose(book, scene)


def _quoted(book: Book, scene: Scene, hits: Mapping[str, Hit]) -> str:
    facts = {fact.lower() for fact in scene.facts}
    ranked = []
    for i, reply in enumerate(book.rules.replies):
        bound, cued = len(reply.bound & facts), sum(cue in hits for cue in reply.cues)
        if scene.step.lower() in reply.bound:
            bound += 1
        if bound or cued or not (reply.bound or reply.cues):
            ranked.append((bound + 0.6 * cued, -i, reply.text))
    return max(ranked)[2] if ranked else ""


def _compose(book: Book, scene: Scene) -> str:
    """Make a plain sentence of the step's meaning and the customer's own words."""
    about = [w for w in read_text(scene.message).spoken if len(w) > 2 and w.lower() not in STOP_WORDS]
    topic = clean(" ".join(about[:4]))
    meaning = book.rules.meanings.get(scene.step) or scene.step.replace("_", " ")
    words = clean(meaning).rstrip(".")[:LONGEST_QUOTE].split()
    if "ask" in words:
        rest = " ".join(words[words.index("ask") + 1 :]).removeprefix("for ") or "a little more"
        wish = f"could you tell me {rest}, please?"
    else:
        wish = f"I will {' '.join(words)} now." if words else "could you tell me a little more, please?"
    return f"About {topic}: {wish}" if topic else wish[0].upper() + wish[1:]
