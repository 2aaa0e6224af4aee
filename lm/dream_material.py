"""What a dream is made of: words that are nobody's own, details of its own, and what the intent is about."""

import random
import re
from collections import Counter
from collections.abc import Sequence

from understudy.lm.details import Details
from understudy.lm.dream_inputs import Inputs
from understudy.lm.notation import spin
from understudy.lm.phrasebook import CUES
from understudy.lm.retelling import spans, words_of
from understudy.lm.words import content_words, label_words, read_text, stem

USUAL = 12
"""Texts from which on a wording is how agents say it."""

CHAT = frozenset(
    map(
        stem,
        """need want like help check know get tell make give okay great see look think sorry work time today good name
        find hello thank please actually wait sure use take come try something nice""".split(),
    )
)
"""Words that say nothing of what a customer wants."""

_NOUN = r"[a-z]{3,}(?: [a-z]{3,})?(?= (?:for|in|at|on|to|from|with|is|was|and|of|that|please)\b|[.,!?]|$)"
_DEED = re.compile(rf"\b(?:to|you|please) ([a-z]{{3,}} (?:an?|the|my|some) {_NOUN})")
_THING = re.compile(rf"\b(?:an?|the|my|some) ({_NOUN})")
_THIRD = {"is": "am", "has": "have", "does": "do", "they": "I", "their": "my", "them": "me", "themselves": "myself"}


class Material:
    """What is learned from the inputs of one dream, and the chance that it is drawn with."""

    def __init__(self, inputs: Inputs) -> None:
        self.rng = random.Random(inputs.seed)
        self.others = inputs.others
        theirs, agents = inputs.said("customer"), inputs.said("agent")
        self.details = Details(self.rng, theirs + agents, inputs.called(), inputs.given)
        # Five words that two customers have said are likely to be part of what a third has.
        self.told = frozenset(spans(theirs)) | {row for row, count in spans(theirs, 5).items() if count > 1}
        rare = {row for row, count in spans(agents).items() if count < USUAL or any(map(self.details.telling, row))}
        self.agent_told = self.told | rare
        self._learn_intent(inputs)

    def _learn_intent(self, inputs: Inputs) -> None:
        """Find the words, deeds and things that the intent is about."""
        label = next((str(beat["intent"]) for beat in inputs.beats if beat.get("intent")), "")
        self.about = inputs.about or inputs.meanings.get(label, "")
        self.wish = _first_person(self.about)
        own = {*label_words(label), *content_words(self.about)}
        counts = Counter(word for text in self.others for word in content_words(text))
        often, most = max(2, len(self.others) // 40), max(2, len(self.others) // 12)
        self.common = {word for word, count in counts.items() if count >= often} | own
        self.keys = ({word for word, count in counts.items() if count >= most} | own) - CHAT - self.details.names
        self.core = own | set([word for word, _ in counts.most_common(60) if word in self.keys][:8])
        self.barred = [f" {' '.join(read_text(cue).stems)} " for cue in CUES if not own & set(content_words(cue))]
        self.deeds = self._common(_DEED)
        common = self._common(_THING)
        things = [thing for thing in common if stem(thing.split()[-1]) in own][:4]
        things = things or [thing for thing in common if stem(thing.split()[-1]) in self.core][:2]
        meant = _THING.findall(self.about) if self.wish else []
        thing = self.rng.choice(things or meant or ["request"])
        self.slots = {**self.details.slots(), "thing": f"the {thing}"}

    def _common(self, pattern: re.Pattern[str]) -> list[str]:
        """Return the pieces that several customers have said and that are about the intent, the commonest first."""
        counts = Counter(piece for text in self.others for piece in set(pattern.findall(text.lower())))
        often = [
            piece for piece, count in counts.most_common(40) if count > 1 and self.core & set(content_words(piece))
        ]
        return [piece for piece in often if not set(words_of(piece)) & self.details.names][:12]

    def keys_in(self, text: str) -> set[str]:
        """Return the words of a text that tell the intent."""
        return self.keys & set(content_words(text))

    def cued(self, text: str) -> bool:
        """Say whether a text holds a cue of a conflict that the intent itself does not."""
        line = read_text(text).line
        return any(cue in line for cue in self.barred)

    def spun(self, ways: Sequence[str]) -> str:
        """Make a text of one of several templates."""
        return spin(self.rng.choice(ways), self.rng, self.slots)


def _first_person(meaning: str) -> str:
    """Turn what a customer does into what one says: `wants a room` is `I want a room`."""
    words = meaning.split()[:24]
    leads = bool(words) and (not words[0].endswith("s") or words[0].lower() == "as")
    start = next((n + 1 for n, word in enumerate(words[:6]) if word.endswith(",")), 0) if leads else 0
    if not words[start : start + 1] or not words[start].endswith("s"):
        return ""
    made = []
    for at, word in enumerate(words):
        verb = (
            at == start or words[at - 1] in ("and", "or") and word in ("wants", "asks", "needs", "looks", "is", "has")
        )
        if word in _THIRD and (verb or word not in ("is", "has", "does")):
            word = _THIRD[word]
        elif verb and word.endswith("s") and not word.endswith("ss"):
            word = re.sub(r"(?<=sh|ch|ss)es$|s$", "", word)
        made.append(word)
    return " ".join([*made[:start], "I", *made[start:]])
