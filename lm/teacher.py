"""The embedded teacher: an engine that reads a prompt of `understudy.lm.reflection` and writes a better instruction."""

import hashlib

from dspy.lm15 import InvalidRequestError, Message, Request, Response, TextPart, Usage

from understudy.lm.embedded import WholeAnswers
from understudy.lm.evidence import pack, study
from understudy.lm.readable import LONGEST
from understudy.lm.shape import Field
from understudy.lm.teaching_cues import Learner, Taste, worth
from understudy.lm.teaching_levels import teach_levels, views
from understudy.lm.teaching_lists import listings, teach_list
from understudy.lm.teaching_material import Lesson, NoLesson, read_lesson
from understudy.lm.teaching_privacy import Quotes, names, said
from understudy.lm.teaching_replies import teach_replies
from understudy.lm.teaching_sheet import Cue, Sheet, read_sheet
from understudy.lm.teaching_turns import is_step, sights

MINIBATCH = 100
"""Examples that serve this teacher best: `dspy.GEPA(reflection_minibatch_size=...)`."""


class EmbeddedTeacher(WholeAnswers):
    """The engine `dspy.LM` calls; the same prompt always gets the same answer."""

    supports_response_schema = False
    supported_params = frozenset({"temperature", "max_tokens", "stop"})

    def complete(self, request: Request) -> Response:
        """Answer a prompt of `understudy.lm.reflection`; InvalidRequestError when it is none."""
        texts = [message.text or "" for message in request.messages]
        if not texts:
            raise InvalidRequestError("embedded teacher: there is no prompt")
        try:
            lesson = read_lesson(texts[0])
        except (NoLesson, RecursionError) as error:
            raise InvalidRequestError(f"embedded teacher: {error}") from error
        seed = int.from_bytes(hashlib.blake2b("\n".join(texts).encode(errors="replace"), digest_size=8).digest())
        text = f"<instruction>\n{rewrite(lesson, seed)}\n</instruction>"
        read, written = 2 + sum(text.count(" ") for text in texts), 1 + text.count(" ")
        usage = Usage(input_tokens=read, output_tokens=written, total_tokens=read + written)
        message = Message.assistant([TextPart(text)])
        return Response(id=None, model=request.model, message=message, finish_reason="stop", usage=usage)


Worth = dict[tuple[str, str, Cue], float]
"""What a rule has done for a field's label in the examples."""


def rewrite(lesson: Lesson, seed: int) -> str:
    """Write a better instruction from a lesson; the seed decides what is tried."""
    sheet = read_sheet(lesson.instruction, lesson.fields)
    barred = names(lesson.cases, [label for one in lesson.fields for label in one.labels])
    sheet.spoken = {**said(lesson.cases), **sheet.spoken}
    worths: Worth = {}
    for one in lesson.fields:
        if lesson.known(one.name):
            worths.update(_teach(one, lesson, sheet, barred, seed))
    _name_the_main_goal(lesson, sheet)
    return _fitted(lesson, sheet, worths)


def _teach(one: Field, lesson: Lesson, sheet: Sheet, barred: frozenset[str], seed: int) -> Worth:
    """Improve what the sheet says of a field, and return what its rules are worth."""
    book, cases = study(sheet.write(), pack(lesson.schema), ()), lesson.known(one.name)
    rules = sheet.rules.get(one.name, {})
    found: Worth = {}
    match one.kind:
        case "label":
            seen = sights(one, lesson, book, seed)
            sheet.rules[one.name] = Learner(seen, one.labels, rules, _taste(one, lesson, seed), barred).learn()
            found = {(one.name, *key): value for key, value in worth(sheet.rules[one.name], seen).items()}
        case "labels":
            sheet.rules[one.name] = teach_list(one, list(listings(one, cases, book)), rules, barred)
        case "number":
            levels = sheet.levels.get(one.name, {})
            sheet.levels[one.name] = teach_levels(list(views(one, cases, book)), levels, barred)
        case "text":
            sheet.replies = teach_replies(cases, sheet.replies, Quotes(lesson.cases))
    return found


def _taste(one: Field, lesson: Lesson, seed: int) -> Taste:
    taste = Taste(least=2 + seed % 2, shrink=(1.0, 2.0, 3.0)[seed // 2 % 3])
    # Steps are many and rare by nature: what is common among them should win, and by little it never would.
    return taste._replace(least=2, rounds=14, strengths=(1.0, 2.0), rarity=1.0) if is_step(one, lesson) else taste


def _name_the_main_goal(lesson: Lesson, sheet: Sheet) -> None:
    """Where no part of a goal was named, let the main goal be the one part."""
    labels = {one.name: one.labels for one in lesson.fields if one.kind in ("label", "labels")}
    for case in lesson.cases:
        goal = str(case.answer.get("main_goal"))
        if "actionability" in case.missed and goal in labels.get("sub_goals", ()):
            sheet.rules.setdefault("sub_goals", {}).setdefault(goal, {})[Cue("for", goal)] = 1.0


def _fitted(lesson: Lesson, sheet: Sheet, worths: Worth) -> str:
    """Write the sheet within the length allowed; the rules that did least go first."""
    rules = [(name, label, cue) for name, found in sheet.rules.items() for label in found for cue in found[label]]
    value = {key: worths.get(key, 1.0) * abs(sheet.rules[key[0]][key[1]][key[2]]) for key in rules}
    order = sorted(rules, key=lambda key: (-value[key], key))
    text = sheet.write()
    while len(text) > LONGEST and (order or sheet.replies):
        over = len(text) - LONGEST
        while over > 0 and order:
            name, label, cue = order.pop()
            over -= len(cue.phrase) + 4
            del sheet.rules[name][label][cue]
        if over > 0 and sheet.replies:
            sheet.replies.pop(max(sheet.replies))
        text = sheet.write()
    return _without_quotes(text, lesson, sheet)


def _without_quotes(text: str, lesson: Lesson, sheet: Sheet) -> str:
    """Drop cues that side by side say again what somebody said."""
    quotes = Quotes(lesson.cases)
    for _ in range(5):
        own = quotes.in_(text) - quotes.in_(lesson.instruction)
        if not own:
            break
        for rules in sheet.rules.values():
            for cues in rules.values():
                for cue in [cue for cue in cues if any(sheet.spoken.get(cue.phrase, " ") in span for span in own)]:
                    del cues[cue]
        text = sheet.write()
    return text
