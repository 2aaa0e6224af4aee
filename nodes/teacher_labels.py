"""Let the teacher label turns that nobody has labelled, with the whole conversation in view.

Its labels are evidence of the source `teacher`: the lowest trust, for training only. A turn is a call of its own: a
small model that is asked for a list of labels for many turns miscounts them, and one bad label would cost the answer
for all. It costs little, as the turns of a conversation are asked one after the other with the same beginning of the
prompt, which the server reads once. How satisfied the customer was in the end is one question for the conversation.

The modules' instructions are not shown: a teacher that followed their cue words could only confirm them.
"""

import asyncio
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cache, cached_property
from typing import Any

import dspy

from understudy.checkpoints.gym import Gym
from understudy.events import Event, Line
from understudy.intake import UnderstudyError
from understudy.lm.adapter import AnswerAdapter, Predict, answer_model
from understudy.lm.errors import AnswerEndless, AnswerError, AnswerTimeout, ModelError
from understudy.lm.prompt import form, tokens, written
from understudy.lm.repair import fields_of
from understudy.lm.roles import get_teacher_lm, model_names, talkers
from understudy.nodes.brain import Brain, gym_of
from understudy.nodes.faculty import Score, seen_by_nobody, with_labels
from understudy.nodes.goals import Phrases
from understudy.nodes.labels import check_labels
from understudy.nodes.redaction import Redaction, said_in
from understudy.profile import Profile, ProfileError
from understudy.settings import Settings, SettingsError

SURE = 0.7
"""Confidence from which on a label is kept. Models seldom say less than 0.5 of a label that they chose themselves, so
that would keep everything; and no label does a module less harm than a wrong one."""

ANSWER_TOKENS = 1024
SPARE_TOKENS = 64
"""For the names of the inputs, and what a chat template puts around messages."""

WHOLE = 1 << 62
"""A number of events that no conversation has."""

FIELDS = ("conflict_type", "intent", "main_goal", "sub_goals", "required_info")
USELESS = (AnswerError, AnswerTimeout, AnswerEndless)
"""What costs one turn its labels; any other error would meet the next turn as well."""


class NoTeacher(UnderstudyError):
    """The teacher cannot answer; the message says why."""


class LabelTurn(dspy.Signature):
    """Label one message of a customer in a conversation that is over. You know how it went on; use that to understand.

    - conflict_type: the trouble that this one message shows, by its words and its tone. Most messages show none.
    - intent: what the customer wants with this message. It stays the same while the customer only answers questions.
    - main_goal, sub_goals: what the customer wants to reach, as far as it has been spoken of up to this message.
    - required_info: the data whose values the customer has given up to this message, not those that came later.

    Tags such as [email], [number] and [customer] stand for what the customer wrote there. Each confidence is the
    probability that a careful reader of the whole conversation would choose the same. Be honest: a label that you are
    not sure of is left out and does no harm, a wrong one does.
    """

    history: list[dict[str, str]] = dspy.InputField(
        desc="the whole conversation, oldest first; the customer's messages are numbered"
    )
    turn: int = dspy.InputField(desc="the number of the customer's message to label")
    message: str = dspy.InputField(desc="that message once more")
    conflict_type: str = dspy.OutputField()
    conflict_type_confidence: Score = dspy.OutputField(desc="the probability that conflict_type is right")
    intent: str = dspy.OutputField()
    intent_confidence: Score = dspy.OutputField(desc="the probability that intent is right")
    main_goal: str = dspy.OutputField(desc="in a few words")
    main_goal_confidence: Score = dspy.OutputField(desc="the probability that main_goal is right")
    sub_goals: Phrases = dspy.OutputField(desc="in a few words each")
    sub_goals_confidence: Score = dspy.OutputField(desc="the probability that sub_goals is right")
    required_info: Phrases = dspy.OutputField(desc="names of data, not their values")
    required_info_confidence: Score = dspy.OutputField(desc="the probability that required_info is right")


class JudgeSatisfaction(dspy.Signature):
    """Say how satisfied the customer was when this conversation was over.

    1 is a customer who got what was wanted and is pleased, 0.5 one who got it with trouble or only in part, 0 one who
    got nothing or left in anger. Judge by what the customer says last and by what was settled. The confidence is the
    probability that a careful reader would say nearly the same.
    """

    history: list[dict[str, str]] = dspy.InputField(desc="the whole conversation, oldest first")
    user_satisfaction: Score = dspy.OutputField(desc="how satisfied the customer was at the end")
    user_satisfaction_confidence: Score = dspy.OutputField(
        desc="the probability that user_satisfaction is right within 0.2"
    )


@dataclass
class TeacherReport:
    """What the teacher did: turns that got labels, that it was sure of nothing in, that it gave no useful answer for.

    `reasons` counts useless answers by the kind of error, `masked` what was kept from the teacher, by its kind.
    """

    labelled: int = 0
    unsure: int = 0
    skipped: int = 0
    conversations: list[str] = field(default_factory=list)
    reasons: Counter[str] = field(default_factory=Counter)
    masked: Counter[str] = field(default_factory=Counter)

    def to_json(self) -> dict[str, Any]:
        """Return the report with the keys of `understudy label --teacher --json`."""
        return {
            "labelled": self.labelled,
            "skipped": self.skipped,
            "unsure": self.unsure,
            "conversations": len(self.conversations),
            "reasons": dict(self.reasons),
            "masked": dict(sorted(self.masked.items())),
        }


async def label_by_teacher(
    brain: Brain, limit: int = 50, on_conversation: Callable[[int], None] = lambda turns: None
) -> TeacherReport:
    """Let the teacher label the turns of closed conversations that neither a person nor it has labelled.

    A conversation is closed when an outcome was told, which the end of a recording always is, or when nothing of it
    waits and its newest message is older than BRAIN_CONVERSATION_IDLE_HOURS. Its labels are written together when it
    is done; what was not done is asked for by the next call.

    Args:
        brain: what to work with.
        limit: how many conversations at most, the newest first.
        on_conversation: called with the number of turns when a conversation is done.

    Raises:
        SettingsError: LM_PROVIDER=embedded.
        NoTeacher: the model server cannot answer; what was written before is kept.
        NoGym: it is switched off.
    """
    settings = brain.settings
    _check(settings)
    gym = gym_of(brain)
    silent_since = datetime.now(UTC) - timedelta(hours=settings.brain_conversation_idle_hours)
    moment = silent_since.strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    name = model_names(settings)["teacher"]
    work = await asyncio.to_thread(gym.material.unlabelled, name, moment, limit)
    redaction = await asyncio.to_thread(_redaction, brain, gym, [conversation_id for conversation_id, _ in work])
    teacher = _Teacher(brain, gym, name, get_teacher_lm(settings), redaction, TeacherReport(masked=redaction.replaced))
    try:
        await teacher.label_all(work, on_conversation)
    except ModelError as error:
        raise NoTeacher(f"{error}; what is labelled is kept, and the same command goes on from here") from None
    return teacher.report


def _check(settings: Settings) -> None:
    if "teacher" not in talkers(settings):
        raise SettingsError(
            "LM_PROVIDER=embedded: the embedded teacher rewrites instructions, it does not label;"
            " set LM_PROVIDER=ollama"
        )


@dataclass
class _Teacher:
    """The one who labels: conversations side by side, the turns of one in order."""

    brain: Brain
    gym: Gym
    name: str
    lm: dspy.LM
    redaction: Redaction
    report: TeacherReport

    async def label_all(self, work: Iterable[tuple[str, list[int]]], on_conversation: Callable[[int], None]) -> None:
        """Label turns of conversations; the first error that is not the answer's ends it."""
        places = asyncio.Semaphore(self.brain.parallel)

        async def label(conversation_id: str, turns: list[int]) -> None:
            try:
                await self.label(conversation_id, turns)
                on_conversation(len(turns))
            finally:
                places.release()

        try:
            async with asyncio.TaskGroup() as tasks:
                for conversation_id, turns in work:
                    await places.acquire()
                    tasks.create_task(label(conversation_id, turns))
        except BaseExceptionGroup as group:
            raise group.exceptions[0] from None

    async def label(self, conversation_id: str, turns: Sequence[int]) -> None:
        """Ask for the labels of some turns of a conversation, and write them together."""
        try:
            profile = self.brain.profile(self.gym.profile_of(conversation_id))
        except ProfileError as error:
            self.report.skipped += len(turns)
            self.report.reasons[type(error).__name__] += len(turns)
            return
        talk = await asyncio.to_thread(_read_talk, self.gym, conversation_id, self.redaction)
        program = _labeller(profile)
        for_all = {} if talk.has_outcome else await self._satisfaction(talk)
        events = []
        for turn in turns:
            if answer := await self._ask(program, **talk.inputs(turn, self._room(program))):
                fields = check_labels({**_sure(answer, *FIELDS), **for_all}, profile)
                payload = {"turn": turn, "fields": fields, "author": self.name, "source": "teacher"}
                events.append(Event(kind="label", payload=payload))
        await asyncio.to_thread(self.gym.learn, conversation_id, events, profile.name)
        self._count(conversation_id, len(turns), events)

    async def _satisfaction(self, talk: "_Talk") -> dict[str, Any]:
        program = _judge()
        answer = await self._ask(program, history=talk.around(len(talk.lines) - 1, self._room(program)))
        return _sure(answer, "user_satisfaction") if answer else {}

    def _room(self, program: Predict) -> int:
        """Return how many tokens a program's inputs may have."""
        return self.brain.settings.ollama_num_ctx - ANSWER_TOKENS - SPARE_TOKENS - _fixed(program.signature)

    async def _ask(self, program: dspy.Module, **inputs: Any) -> dict[str, Any] | None:
        """Return the teacher's answer, or None when it is of no use."""
        try:
            with seen_by_nobody(self.lm, AnswerAdapter()):
                answer = await program.acall(**inputs)
        except USELESS as error:
            self.report.reasons[type(error).__name__] += 1
            return None
        return dict(answer.toDict())

    def _count(self, conversation_id: str, asked: int, events: Sequence[Event]) -> None:
        labelled = sum(bool(event.payload["fields"]) for event in events)
        self.report.labelled += labelled
        self.report.unsure += len(events) - labelled
        self.report.skipped += asked - len(events)
        self.report.conversations.append(conversation_id)


@dataclass(frozen=True)
class _Talk:
    """A whole conversation, masked, its customer's messages numbered."""

    lines: list[Line]
    has_outcome: bool

    @cached_property
    def _places(self) -> list[int]:
        return [place for place, line in enumerate(self.lines) if line["role"] == "customer"]

    @cached_property
    def _sizes(self) -> list[int]:
        return [tokens(written({"history": [line]})) for line in self.lines]

    def inputs(self, turn: int, room: int) -> dict[str, Any]:
        """Return what the teacher is shown of a turn; what differs from turn to turn comes last."""
        place = self._places[turn]
        history = self.around(place, room - self._sizes[place])
        return {"history": history, "turn": turn, "message": self.lines[place]["text"]}

    def around(self, place: int, room: int) -> list[Line]:
        """Return the whole conversation if it fits into some tokens, else its first line and those around one."""
        if sum(self._sizes) <= room:
            return self.lines
        kept, left = {0, place}, room - self._sizes[0] - self._sizes[place]
        for near in sorted(range(1, len(self.lines)), key=lambda other: abs(other - place)):
            left -= self._sizes[near] if near != place else 0
            if left < 0:
                break
            kept.add(near)
        return [self.lines[one] for one in sorted(kept)]


def _redaction(brain: Brain, gym: Gym, conversations: Sequence[str]) -> Redaction:
    """Return what is kept from the teacher; the words of any of the conversations' profiles are not."""
    profiles = []
    for name in {gym.profile_of(conversation_id) for conversation_id in conversations}:
        with suppress(ProfileError):  # such a conversation is skipped, and the report says so
            profiles.append(brain.profile(name))
    return Redaction(said_in(gym, conversations), profiles)


def _read_talk(gym: Gym, conversation_id: str, redact: Callable[[Any], Any]) -> _Talk:
    lines, turn = list[Line](), 0
    for line in gym.history(conversation_id, WHOLE, WHOLE):
        shown = Line(role=line["role"], text=redact(line["text"]))
        if line["role"] == "customer":
            shown["action"] = f"turn {turn}"
            turn += 1
        elif action := line.get("action"):
            shown["action"] = redact(action)
        lines.append(shown)
    known = gym.evidence(conversation_id, 0)
    return _Talk(lines, has_outcome=any(row["source"] == "outcome" for row in known))


@cache
def _fixed(signature: Any) -> int:
    """Return the tokens of what every prompt of a signature begins with."""
    return tokens(signature.instructions) + tokens(form(signature, fields_of(answer_model(signature))))


@cache
def _labeller(profile: Profile) -> Predict:
    """Return the program that labels a turn with a profile's labels."""
    goals = with_labels(LabelTurn, profile.goals, "main_goal", "sub_goals")
    intents = {label: intent.description for label, intent in profile.intents.items()}
    signature = with_labels(goals, profile.conflict_types, "conflict_type")
    signature = with_labels(with_labels(signature, intents, "intent"), profile.data, "required_info")
    return _steady(signature)


@cache
def _judge() -> Predict:
    """Return the program that says how satisfied a customer was."""
    return _steady(JudgeSatisfaction)


def _steady(signature: type[dspy.Signature]) -> Predict:
    """Return a program that is answered the same way each time; the teacher's own temperature is for inventing."""
    return Predict(signature, temperature=0.0, max_tokens=ANSWER_TOKENS)


def _sure(answer: Mapping[str, Any], *fields: str) -> dict[str, Any]:
    """Return those fields of an answer that the teacher is sure of."""
    return {name: answer[name] for name in fields if answer[f"{name}_confidence"] >= SURE}
