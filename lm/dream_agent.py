"""What a dreamt agent says: a reply of the same action in other words, or what the action means."""

import random
import re

from understudy.lm.dream_inputs import Inputs
from understudy.lm.dream_material import Material
from understudy.lm.notation import reframed, reworded
from understudy.lm.paraphrases import AGENT_FRAMES, AGENT_WORDS
from understudy.lm.phrasebook import OPENERS, SAY_NOTHING
from understudy.lm.retelling import fits, tidy, unsaid
from understudy.lm.words import content_words


class Agent:
    """The agent of one dream."""

    def __init__(self, inputs: Inputs, material: Material) -> None:
        self.inputs, self.material, self.rng = inputs, material, material.rng
        self.lines = inputs.aligned()

    def text(self, at: int) -> str:
        """Return what is said in a beat, in other words than the source; empty where nothing can be made."""
        action, line = str(self.inputs.beats[at].get("action") or ""), self.lines[at]
        texts = self.inputs.agents.get(action, [])
        if line:
            told, marks = set(content_words(line)), _marks(line)
            near = [text for text in texts if 2 * len(told & set(content_words(text))) > len(told)]
            near = [text for text in near if _marks(text) <= marks]
            texts = [line, *self.rng.sample(near, min(3, len(near)))]
        else:
            texts = list(filter(self.material.keys_in, texts)) or texts
            texts = [text for text in texts if self.material.details.swap(text) == text] or texts
            texts = self.rng.sample(texts, min(4, len(texts)))
        self.rng.shuffle(texts)
        meaning = _meant(self.inputs.meanings.get(action, "") or action.replace("_", " ")[:200], self.rng)
        for text in filter(None, [*texts, meaning, self.material.spun(SAY_NOTHING)]):
            made = unsaid(self._reworded(text), self.material.agent_told, self.rng)
            if made and fits(made):
                return tidy(made, False)
        return ""

    def _reworded(self, text: str) -> str:
        text = self.material.details.swap(text)
        sentences = [reframed(one, self.rng, AGENT_FRAMES) for one in re.split(r"(?<=[.!?])\s+", text)]
        made = reworded(" ".join(sentences), self.rng, AGENT_WORDS, 0.6)
        return f"{self.material.spun(OPENERS)} {made}" if made == text or self.rng.random() < 0.7 else made


def _meant(meaning: str, rng: random.Random) -> str:
    """Make a sentence of what an action means: `ask for the name` is `And the name is?`."""
    meaning = re.sub(r"\bthe customer (\w+[^s\W])s\b", r"you \1", meaning.replace("the customer's", "your"))
    words = meaning.replace("the customer", "you").split(", ")[0].split()
    if len(words) < 2:
        return ""
    first, rest = words[0], " ".join(words[1:])
    if first in ("ask", "asks"):
        rest = rest.removeprefix("for ")
        return rng.choice((f"Could you tell me {rest}, please?", f"May I ask {rest}?", f"I still need to know {rest}."))
    if first in ("say", "confirm", "tell"):
        return rng.choice((f"I can {first} {rest}.", f"It looks like this: {rest}.", f"To {first} it clearly: {rest}."))
    return rng.choice((f"I will {first} {rest} now.", f"Let me {first} {rest}.", f"I would like to {first} {rest}."))


def _marks(text: str) -> set[str]:
    """Return the numbers of a text, and the words that a capital sets apart."""
    return set(re.findall(r"(?<=[\w,'] )[A-Z]\w+|\d+", text))
