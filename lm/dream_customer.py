"""What a dreamt customer says: an answer to the agent, what the source says, a wish, in a mood and a register."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from understudy.lm import phrasebook as book
from understudy.lm.dream_inputs import Inputs, role_of
from understudy.lm.dream_material import Material
from understudy.lm.dream_sentences import borrowed, ordered, retold, short_answer, wish
from understudy.lm.notation import reframed, reworded, spin
from understudy.lm.paraphrases import FRAMES, LONG, SHORT
from understudy.lm.parting import Said, parsed, text_of
from understudy.lm.retelling import fits, tidy, unsaid
from understudy.lm.words import label_words

TRIES = 6

_ASKS = re.compile(r"\bask\b|^(?:please|now for|for that|i (?:will )?need)|\?", re.MULTILINE)
_QUESTION = re.compile(
    r"(?:could|can|would|is|are|do|does|did|any chance|shall|have you|what(?! i\b| a\b)|where|when|how(?! i\b)|which|"
    r"who|why|will|may|and if|so, w|tell me, w|sorry, what)\b",
    re.IGNORECASE,
)


class Customer:
    """The customer of one dream."""

    def __init__(self, inputs: Inputs, material: Material) -> None:
        self.inputs, self.material, self.rng = inputs, material, material.rng
        self.used: set[str] = set()
        lines = inputs.aligned()
        mine = [at for at, beat in enumerate(inputs.beats) if role_of(beat) == "customer"]
        self.said = {at: parsed(lines[at]) for at in mine}
        self.last = mine[-1] if mine else -1
        told = {word for at in mine for word in material.keys_in(lines[at])}
        fullest = max(mine[:3], key=lambda at: (len(self.said[at].units), -at), default=-1)
        self.wishes = fullest if len(told) < 5 else -1
        late = mine[len(mine) // 2 :] if inputs.mood == "cancellation" else mine[1:] or mine
        self.loud = self.rng.sample(late, min(len(late), 1 + (self.rng.random() < 0.5)))

    def text(self, at: int, before: str) -> str:
        """Return what is said in a beat, after what the beat before says; empty where nothing can be made."""
        beat, said = self.inputs.beats[at], self.said[at]
        asked = self._asked(before, self.inputs.beats[at - 1]) if at else ()
        moods = self._moods(beat, at in self.loud)
        kind = beat.get("conflict_type")
        calm = kind == "none" or not kind and self.inputs.mood in book.CALM
        for tried in range(TRIES):
            shorter = said._replace(units=said.units[: max(0, len(said.units) - max(0, tried - 2))])
            parts = self._spoken(at, shorter, asked, calm)
            parts[self.rng.choice((0, len(parts))) : 0] = [spin(mood, self.rng, self.material.slots) for mood in moods]
            text = unsaid(self._written(at, said.acts, parts), self.material.told, self.rng)
            if text and fits(text) and not (calm and self.material.cued(text)):
                return tidy(text, self.inputs.tone == "casual")
        return ""

    def _asked(self, text: str, beat: Mapping[str, Any]) -> Sequence[str]:
        """Return the ways to answer what the agent has just asked, if it was a question."""
        action = str(beat.get("action") or "").replace("_", " ")
        if not _ASKS.search(f"{action}\n{text.lower()}"):
            return ()
        asked = f"{text.lower()} | {action} | {self.inputs.meanings.get(str(beat.get('action')), '')}"
        return next((ways for pattern, ways in book.ANSWERS if re.search(pattern, asked)), book.OPEN)

    def _moods(self, beat: Mapping[str, Any], loud: bool) -> list[str]:
        """Return what shows a beat's mood, as templates that the dream has not used yet."""
        kind = str(beat.get("conflict_type") or "")
        if kind in book.CONFLICTS:
            return self._unused(book.CONFLICTS[kind], 1 + (self.rng.random() < 0.3))
        if kind not in ("", "none"):
            return [f"{{it|this}} is {{all|really}} about {' '.join(label_words(kind))}"]
        if loud and self.inputs.mood in book.CONFLICTS and not kind:
            return self._unused(book.CONFLICTS[self.inputs.mood], 1)
        return self._unused(book.MOODS[self.inputs.mood], 1) if loud and self.inputs.mood in book.MOODS else []

    def _unused(self, templates: Sequence[str], count: int) -> list[str]:
        fresh = [one for one in templates if one not in self.used]
        drawn = self.rng.sample(fresh if len(fresh) >= count else list(templates), count)
        self.used.update(drawn)
        return drawn

    def _spoken(self, at: int, said: Said, asked: Sequence[str], calm: bool) -> list[str]:
        """Return the sentences of a message: the answer to the agent, what the source says, what is wished."""
        units = [unit for unit in said.units if not (calm and self.material.cued(text_of(unit)))]
        if len(units) == 1 and len(text_of(units[0]).split()) <= 3 and "<" in "".join(asked):
            return [short_answer(self.material, text_of(units[0]), asked)]
        parts = self._answers(at, said.acts, bool(units), asked)
        units = ordered(self.material, units)
        spare = len(units) > 2 and self.rng.random() < 0.5
        while spare or sum(len(text_of(unit).split()) for unit in units) > 38:
            units.remove(min(units, key=lambda unit: len(self.material.keys_in(text_of(unit)))))
            spare = False
        parts += [retold(self.material, unit) for unit in units]
        if not self.inputs.source and not at:
            parts.append(reframed(self.material.wish, self.rng, FRAMES))
        if at == self.wishes or not self.inputs.source and not at:
            parts.append(wish(self.material, " ".join(parts)))
        share = 0.25 if units else 0.6 if not (self.inputs.source or asked) else 0.0
        if self.rng.random() < share or not self.inputs.source and not at:
            parts += borrowed(self.material, self.material.keys_in(" ".join(parts)))
        return parts

    def _answers(self, at: int, acts: frozenset[str], more: bool, asked: Sequence[str]) -> list[str]:
        """Say yes, no or fine as the source does; where there is none, answer what was asked."""
        parts = []
        lost = at == self.last and self.inputs.outcome == "failure"
        no = book.DONE if asked == book.DONE else book.NO
        for act, ways in (("yes", book.YES), ("no", no), ("fine", book.FINE), ("done", book.DONE)):
            if act in acts and not (lost and act == "fine") and (not more or self.rng.random() < 0.6):
                parts.append(self.material.spun(ways))
        if not self.inputs.source and at and asked:
            parts.append(self.material.spun(asked))
        return parts[:2]

    def _written(self, at: int, acts: frozenset[str], parts: list[str]) -> str:
        """Put a message together in its register, with greeting, thanks and goodbye."""
        rng, spun, tone, outcome = self.rng, self.material.spun, self.inputs.tone, self.inputs.outcome
        if not parts and "greet" in acts:
            parts = [spun(book.HELP)]
        if at == self.last and outcome == "failure" and (not self.inputs.source or not parts):
            parts.append(spun(book.LOST))
        if at == self.last and outcome == "abandoned" and "bye" not in acts:
            parts.append(spun(book.QUIET))
        if "thanks" in acts or at == self.last and outcome == "success" and rng.random() < 0.6:
            parts.append(spun(book.THANKS[tone]))
        if "bye" in acts:
            parts.append(spun(book.BYES[tone]))
        parts = list(filter(None, parts)) or [spun(book.FINE)]
        sentences = [one if one[-1] in "?!" else one + ("?" if _QUESTION.match(one) else ".") for one in parts]
        text = " ".join(sentence[0].upper() + sentence[1:] for sentence in sentences)
        if rng.random() < (0.9 if "greet" in acts else 0.4) * (1.0 if not at else 0.3 if "greet" in acts else 0.0):
            text = f"{spun(book.GREETINGS[tone])} {text}"
        if tone == "formal":
            return reworded(text, rng, LONG, 1.0)
        return reworded(text, rng, SHORT, 0.5) if tone == "casual" else text
