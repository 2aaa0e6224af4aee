"""Free text without a model: quotes from the conversation, replies found in the instruction or the examples."""

from collections.abc import Sequence

from understudy.lm.evidence import Book, Hit
from understudy.lm.shape import Field
from understudy.lm.words import Scene, clean, label_words, read_text, STOP_WORDS

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


def propose(
    one: Field, book: Book, scene: Scene, hits: dict[str, Hit], near: Sequence[tuple[int, float]]
) -> str:
    """Give the reply that fits best: from the instruction, an example, the agent's own lines, or composed."""
    facts = {fact.lower() for fact in scene.facts}
    ranked = []
    for i, reply in enumerate(book.rules.replies):
        bound, cued = len(reply.bound & facts), sum(cue in hits for cue in reply.cues)
        if bound or cued or not (reply.bound or reply.cues):
            ranked.append((bound + 0.6 * cued, -i, reply.text))
    if ranked:
        return max(ranked)[2]
    for i, likeness in near[:3]:
        text = book.examples[i][1].get(one.name)
        if isinstance(text, str) and likeness > 0:
            return text
    for action, text in scene.replies:
        if action in scene.facts:
            return clean(text)[:400]
    return _compose(book, scene)


def _compose(book: Book, scene: Scene) -> str:
    step = next((fact for fact in sorted(scene.facts) if "_" in fact), "")
    about = [word for word in read_text(scene.message).spoken if word.lower() not in STOP_WORDS and len(word) > 2]
    topic = clean(" ".join(about[:4]))
    wanted = " ".join(step.replace("_", " ").split()[1:]) or "a little more"
    start = f"About {topic}: could" if topic else "Could"
    return f"{start} you tell me {wanted}, please?"
