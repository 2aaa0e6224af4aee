"""A personal touch: how would the reply that production sent have read for this customer? It is only written down.

The program may change the manner of a reply and never its matter: what a reply holds of names, numbers, dates, prices,
links, negations and promises is compared in code (`understudy.nodes.keeping`), whatever the program says of itself.
"""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import dspy
from langgraph.runtime import Runtime
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from understudy.checkpoints.gym import Gym
from understudy.events import BrainDecision, Event, Line
from understudy.intake import clean_text, shape_error
from understudy.lm.errors import ModelError
from understudy.lm.register import LIVELY, register_of
from understudy.lm.wishes import Modification
from understudy.nodes.brain import Brain, brain_of, own_brain
from understudy.nodes.faculty import Faculty, Said, Score, Update, ask
from understudy.nodes.keeping import broken
from understudy.nodes.scoring import Component, honest, listed, mean, verdict
from understudy.profile import Profile
from understudy.state import Context, ShadowState

Status = Literal["accepted", "unchanged", "rejected", "fault"]

LEAST_SHIFT = 0.02
"""Change of formality that counts as one."""

WANTED_FORMALITY = {"formal": 0.9, "casual": 0.1, "informal": 0.1}

LONGEST = 4000
"""Characters of a reply; a longer one is no chat, and is left alone."""

Personalized = Annotated[str, Field(max_length=LONGEST)]


class PersonalizeMessage(dspy.Signature):
    """Rewrite the reply so that it suits this customer better, in the manner in which the customer writes.

    Change only how it is said: more or less formal, with or without emoji, friendlier, more urgent or apologetic,
    simpler or richer words, more enthusiasm, the customer's name. What the customer has asked for (preferences) comes
    before what their messages show (manner). Keep every fact as it is: names, numbers, dates, times, prices, links,
    what is said not to be, and what is promised; add none. If nothing needs to change, give the reply back as it is.
    """

    history: list[dict[str, str]] = dspy.InputField(desc="the conversation before the reply, oldest first")
    customer_profile: dict[str, Any] = dspy.InputField(desc="what is known of the customer")
    manner: dict[str, Any] = dspy.InputField(desc="how the customer writes: formality, emoji and so on, 0 to 1")
    reply: str = dspy.InputField(desc="the reply that was sent")
    personalized_message: Personalized = dspy.OutputField(desc="the reply as it would suit this customer")
    modifications: list[Modification] = dspy.OutputField(desc="what was changed; empty if nothing was")
    confidence: Score = dspy.OutputField(desc="the probability that this customer would have liked it better")
    reasoning: str = dspy.OutputField(desc="what of the customer led to it, in one sentence")


class PersonalizationSuggestion(BaseModel):
    """What a personal touch would have changed in a reply; nobody is sent it.

    `rejected` says what the rewriting lost or made up; then it must not be used. Confidence is in 0..1.
    """

    model_config = ConfigDict(frozen=True)

    original_message: str
    personalized_message: str
    modifications: list[Modification]
    confidence: Score
    reasoning: str
    rejected: list[str] = []

    @property
    def status(self) -> Status:
        """What became of it."""
        if self.rejected:
            return "rejected"
        return "unchanged" if self.personalized_message == self.original_message else "accepted"


def signature(profile: Profile) -> type[dspy.Signature]:
    """Return the signature; it is the same for every profile."""
    return PersonalizeMessage


def inputs(turn: Mapping[str, Any]) -> dict[str, Any]:
    """Return what the program is shown: the conversation up to the reply, who is spoken to and how they write."""
    history = list(turn["history"])
    if turn.get("message"):
        history.append(Line(role="customer", text=turn["message"]))
    return {
        "history": history,
        "customer_profile": turn.get("customer") or {},
        "manner": register_of([line["text"] for line in history if line["role"] == "customer"]).to_json(),
        "reply": turn.get("reply") or "",
    }


def beyond(gym: Gym, decision: BrainDecision) -> dict[str, Any]:
    """Return the first reply to a turn, and who it was sent to."""
    return {
        "reply": gym.first_reply(decision.conversation_id, decision.turn),
        "customer": gym.customer(decision.conversation_id, decision.history_upto),
    }


def personalize_metric(
    gold: dspy.Example, pred: dspy.Prediction, trace: Any = None, pred_name: Any = None, pred_trace: Any = None
) -> dspy.Prediction:
    """Score a rewriting: fit 0.6, named 0.2, confidence 0.2; `dspy.Prediction(score, feedback)`.

    Fit (intrinsic): how near formality and emoji are to what the customer prefers, or else shows. Named (intrinsic):
    whether the modifications are those that can be seen. Confidence: by a reviewer's `was_better`. A rewriting that
    loses or makes up what must be kept scores 0, whatever else it does.
    """
    reply, rewritten = str(gold.get("reply") or ""), str(pred.get("personalized_message") or "")
    if lost := broken(reply, rewritten, customer_names=names_of(gold.get("customer_profile"))):
        return dspy.Prediction(score=0.0, feedback=f"kept 0.00: {'; '.join(lost)}.")
    better = gold.get("was_better")
    return verdict(
        [
            _fit(gold, rewritten),
            _named(reply, rewritten, listed(pred.get("modifications"))),
            honest(0.2, pred.get("confidence"), None if better is None else float(better)),
        ]
    )


def _fit(gold: dspy.Example, rewritten: str) -> Component:
    """Score how near a text is to the customer's manner; what neither a preference nor a message tells is left out."""
    register, preferred = gold.get("manner") or {}, _preferences(gold.get("customer_profile"))
    manner = register_of([rewritten])
    wanted = WANTED_FORMALITY.get(str(preferred.get("formality")).lower())
    known = bool(register.get("messages"))
    if wanted is None and known:
        wanted = float(register.get("formality", 0.5))
    likes = preferred.get("emoji")
    if not isinstance(likes, bool):
        likes = float(register.get("emoji", 0)) > 0.3 if known else None
    parts = {
        "formality": None if wanted is None else 1 - abs(wanted - manner.formality),
        "emoji": None if likes is None else float(bool(LIVELY.search(rewritten)) == likes),
    }
    scores = {name: score for name, score in parts.items() if score is not None}
    wishes = [f"formality {wanted:.2f}, is {manner.formality:.2f}" if wanted is not None else ""]
    wishes.append(("" if likes else "no ") + "emoji" if likes is not None else "")
    return ("fit", 0.6, mean(list(scores.values())), f"wanted: {'; '.join(filter(None, wishes))}.")


def _named(reply: str, rewritten: str, said: Sequence[str]) -> Component:
    """Score whether what is said to have been changed is what can be seen to have been."""
    seen = _visible(reply, rewritten)
    telling = {"emoji_added", "emoji_removed", "formality_up", "formality_down"}
    claimed = telling & set(said)
    missing = bool(rewritten != reply and not said) or bool(rewritten == reply and said)
    wrong = sorted((claimed ^ seen) & {"emoji_added", "emoji_removed"}) + sorted(
        (claimed - seen) & {"formality_up", "formality_down"}
    )
    score = 0.0 if missing else 1.0 if not wrong else 0.5
    words = f"not as it can be seen: {', '.join(wrong)}." if wrong else "name every change, and no other."
    return ("named", 0.2, score, words if score < 1 else "the changes are named.")


def _visible(reply: str, rewritten: str) -> set[str]:
    before, after = len(LIVELY.findall(reply)), len(LIVELY.findall(rewritten))
    shift = register_of([rewritten]).formality - register_of([reply]).formality
    found = {"emoji_added"} if after > before else {"emoji_removed"} if after < before else set[str]()
    if abs(shift) > LEAST_SHIFT:
        found.add("formality_up" if shift > 0 else "formality_down")
    return found


def _preferences(customer: Any) -> Mapping[str, Any]:
    found = customer.get("preferences") if isinstance(customer, Mapping) else None
    return found if isinstance(found, Mapping) else {}


def names_of(customer: Any, depth: int = 4, named: bool = False) -> set[str]:
    """Return the names that a customer object gives: all text below keys that end in `name`, a few levels deep."""
    if isinstance(customer, str):
        return {customer} if named else set()
    if not isinstance(customer, Mapping) or not depth:
        return set()
    inner = ((value, named or str(key).lower().endswith("name")) for key, value in customer.items())
    return {name for value, below in inner for name in names_of(value, depth - 1, below)}


PERSONALIZE = Faculty("personalize", signature, inputs, personalize_metric, ("proposed_response",), beyond=beyond)
"""Its main field is the reply that was sent: without one there is nothing to rewrite."""


@dataclass(frozen=True)
class Asked:
    """A reply that is to be personalised."""

    event: Event
    inputs: dict[str, Any]
    program: Any
    version: str


async def personalize(state: ShadowState, runtime: Runtime[Context]) -> Update:
    """Write down what a personal touch would have changed in the replies that production has sent."""
    brain = brain_of(runtime.context)
    asked = await asyncio.to_thread(_asked, brain, state, runtime.context or Context())
    told = [(one, await ask(brain, one.program, one.inputs)) for one in asked]
    suggested = await asyncio.to_thread(_keep, brain, state, told)
    return {"personalization_suggestion": suggested}


def _asked(brain: Brain, state: ShadowState, context: Context) -> list[Asked]:
    gym, profile, found = brain.gym, state["profile"], list[Asked]()
    if gym is None:
        return found
    version = brain.version(PERSONALIZE, profile, context)
    program = brain.program(PERSONALIZE, profile, version)
    events = gym.events_at(state["conversation_id"], state["replies"])
    for event in (event for event in events if len(event.text or "") <= LONGEST):
        history = gym.history(state["conversation_id"], event.seq, brain.settings.brain_history_messages)
        turn = {"history": history, "customer": state.get("customer"), "reply": event.text}
        found.append(Asked(event, inputs(turn), program, version))
    return found


def _keep(brain: Brain, state: ShadowState, told: Sequence[tuple[Asked, Said | None]]) -> dict[str, Any] | None:
    """Write a row for every reply, and return the newest suggestion that there is."""
    newest = None
    for asked, said in told:
        suggestion, fault = _read(asked.inputs, said)
        if brain.gym is not None:
            brain.gym.suggest(
                state["conversation_id"],
                asked.event,
                {
                    **(suggestion.model_dump() if suggestion else {"modifications": []}),
                    "original_message": asked.event.text or "",
                    "status": suggestion.status if suggestion else "fault",
                    "reason": "; ".join(suggestion.rejected) or None if suggestion else fault,
                    "profile": state["profile"],
                    "version": asked.version,
                    "model": brain.student.model,
                    "tokens": said.tokens if said else 0,
                    "ms": said.ms if said else 0.0,
                },
            )
        newest = suggestion.model_dump() if suggestion else newest
    return newest


def _read(given: Mapping[str, Any], said: Said | None) -> tuple[PersonalizationSuggestion | None, str | None]:
    """Return the suggestion, or what failed."""
    if said is None:
        return None, "the model server is down"
    if said.answer is None:
        return None, said.fault
    try:
        return suggested(given, said.answer), None
    except ValidationError as error:
        return None, shape_error(error)


def suggested(given: Mapping[str, Any], answer: Mapping[str, Any]) -> PersonalizationSuggestion:
    """Return an answer as a suggestion, with what it lost or made up."""
    original, rewritten = str(given["reply"]), clean_text(str(answer.get("personalized_message") or ""))
    modifications = listed(answer.get("modifications"))
    lost = broken(original, rewritten, customer_names=names_of(given["customer_profile"]))
    if rewritten != original and not modifications:
        lost = [*lost, "it changes the reply and names no modification"]
    return PersonalizationSuggestion.model_validate(
        {
            "original_message": original,
            "personalized_message": rewritten,
            "modifications": modifications if rewritten != original else [],
            "confidence": answer.get("confidence") or 0.0,
            "reasoning": str(answer.get("reasoning") or ""),
            "rejected": lost,
        }
    )


class MessagePersonalizer:
    """Suggest how replies would read for a customer, outside of the shadow graph.

    Args:
        version: of the program; the latest when left out.
        profile: a profile's name; BRAIN_PROFILE's when left out.
        brain: what to work with; the one of this process when left out.

    Raises:
        UnderstudyError: the version does not load.
    """

    def __init__(self, version: str | None = None, profile: str | None = None, brain: Brain | None = None) -> None:
        self._brain = brain or own_brain()
        name = self._brain.profile(profile).name
        context = Context(versions={PERSONALIZE.name: version} if version else {})
        self.version = self._brain.version(PERSONALIZE, name, context)
        self.program = self._brain.program(PERSONALIZE, name, self.version)

    def personalize(
        self, message: str, *, customer: Mapping[str, Any] | None = None, history: Sequence[Line] = ()
    ) -> PersonalizationSuggestion:
        """Return what a personal touch would change in a reply; see `apersonalize`."""
        return asyncio.run(self.apersonalize(message, customer=customer, history=history))

    async def apersonalize(
        self, message: str, *, customer: Mapping[str, Any] | None = None, history: Sequence[Line] = ()
    ) -> PersonalizationSuggestion:
        """Return what a personal touch would change in a reply.

        Args:
            message: the reply.
            customer: what is known of the customer: `name`, `preferences` {formality, emoji, ...} and any others.
            history: the messages before the reply, oldest first: `role` (customer or agent) and `text`.

        Raises:
            ModelError: the model did not answer.
        """
        given = inputs({"history": list(history), "customer": dict(customer or {}), "reply": message})
        said = await ask(self._brain, self.program, given)
        suggestion, fault = _read(given, said)
        if suggestion is None:
            raise ModelError(fault)
        return suggestion
