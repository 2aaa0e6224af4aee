"""Is a module ready? Judged by conversations of which the truth is known."""

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from understudy.checkpoints.gym import Gym
from understudy.checkpoints.trials import Ending
from understudy.events import BrainDecision, Event, Label, Outcome
from understudy.nodes.ab_life import enrol
from understudy.nodes.bound import lower_bound
from understudy.nodes.brain import Brain
from understudy.readiness import Readiness, readiness, rests_on
from understudy.status import status

NEEDED = ("0 of 30 conversations with evidence",)


def observe(
    gym: Gym, name: str, said: Iterable[dict[str, Any] | None], right: dict[str, Any], *, by: str = "", **more: Any
) -> None:
    """Let a conversation happen: what the intent predictor said of its turns (None: nothing), and what is true."""
    for turn, fields in enumerate(said):
        message = Event("customer_message", "Can you take my van?", message_id=f"m{turn}")
        events = gym.append(name, [message], more.get("profile", "default"))
        reading = {"fields": fields, "version": more.get("version", "v0.0"), "model": "x"}
        fault = {"step": "intent", "kind": "AnswerError", "message": "no answer"}
        decision = BrainDecision(
            decision_id=f"{name} {turn}", conversation_id=name, turn=turn, message_id=f"m{turn}",
            profile=more.get("profile", "default"), created_at=f"2026-01-01T00:00:{turn:02}Z",
            user_message=message.text or "", history_upto=events[0].seq,
            readings={} if fields is None else {"intent": reading}, faults=[] if fields else [fault],
            versions={"intent": more.get("version", "v0.0")}, models={}, tokens_in=1, tokens_out=1, latency_ms=1.0,
            engine="embedded", brain_mode="shadow",
        )  # fmt: skip
        gym.record(decision, name, events)
        label = Label(turn=turn, fields=right).event()
        gym.learn(name, [replace(label, payload={**label.payload, "source": by})] if right else [], "default")
    if more.get("closed", True):
        gym.record(None, name, gym.append(name, [Outcome(workflow_outcome="success").event()], "default"))


def intent_of(brain: Brain) -> Readiness:
    return readiness(brain)["intent"]


RIGHT, WRONG = {"intent": "booking"}, {"intent": "inquiry"}


@given(st.lists(st.floats(0, 1), min_size=1, max_size=60))
def test_the_bound_is_below_the_mean_and_rises_with_each_better_value(values: list[float]) -> None:
    bound = lower_bound(values)
    assert 0 <= bound <= sum(values) / len(values) + 1e-12
    assert lower_bound([*values[1:], 1.0]) >= bound - 1e-9
    assert lower_bound(values * 2) >= bound - 1e-9


def test_the_bound_is_hoeffding_s() -> None:
    assert lower_bound([]) == 0
    assert lower_bound([1.0] * 30) == pytest.approx(0.05 ** (1 / 30), abs=1e-9)
    assert lower_bound([1.0] * 180 + [0.0] * 20) == pytest.approx(0.8402, abs=1e-4)


def test_an_empty_gym_says_what_is_missing(brain: Brain) -> None:
    found = readiness(brain)
    assert list(found) == ["conflict", "intent", "quality", "goals", "response"]
    assert {one.missing for one in found.values()} == {NEEDED}
    assert intent_of(brain).agreement is None and intent_of(brain).course == ()


def test_two_hundred_conversations_that_agree_are_ready(brain: Brain) -> None:
    assert brain.gym is not None
    for number in range(205):
        observe(brain.gym, f"c{number}", [WRONG if number < 5 else RIGHT], RIGHT)
    found = intent_of(brain)
    assert found.ready and found.missing == ()
    assert (found.agreement, found.conversations, found.turns, found.fault_rate) == (1.0, 200, 200, 0.0)
    assert found.lower == pytest.approx(0.05 ** (1 / 200), abs=1e-4)
    assert found.sources == {"human": 200} and rests_on(found.sources) == "Agreement with people's labels."
    assert [point.conversations for point in found.course] == [20] * 10
    assert not readiness(brain)["goals"].ready, "nothing is known of it"
    told = status(brain)["ready"]["intent"]
    assert told["ready"] is True and told["missing"] == [] and told["conversations"] == 200


def test_five_conversations_are_too_few(brain: Brain) -> None:
    assert brain.gym is not None
    for number in range(5):
        observe(brain.gym, f"c{number}", [RIGHT, RIGHT], RIGHT)
    assert intent_of(brain).missing == ("5 of 30 conversations with evidence",)


def test_what_does_not_count(brain: Brain) -> None:
    """The teacher's word, a conversation that goes on, one of another profile, a turn of which nothing is known."""
    assert brain.gym is not None
    observe(brain.gym, "teacher", [RIGHT], RIGHT, by="teacher")
    observe(brain.gym, "other", [RIGHT], RIGHT, profile="star")
    observe(brain.gym, "silent", [RIGHT], {})
    assert intent_of(brain).missing == NEEDED
    observe(brain.gym, "counts", [RIGHT], RIGHT)
    brain.gym.learn("counts", [Label(turn=0, fields=WRONG).event()], "default")
    assert intent_of(brain).agreement == 0.0, "the newest label of a person is believed"


def test_what_was_read_before_makes_no_difference(brain: Brain) -> None:
    """Each conversation that is new, or has something new, is read; and what is kept of others is what they say."""
    gym, seen = brain.gym, set[float | None]()
    assert gym is not None

    def looked_at() -> None:
        fresh = Brain(brain.settings)
        assert fresh.gym is not None and readiness(fresh) == readiness(brain)
        fresh.gym.close()
        seen.add(intent_of(brain).agreement)

    for number in range(6):
        name, is_closed = f"c{number}", number % 2 == 0
        observe(gym, name, [RIGHT, WRONG], RIGHT, closed=is_closed)
        looked_at()
        gym.learn("c0", [Label(turn=number % 2, fields=WRONG if number < 3 else RIGHT).event()], "default")
        looked_at()
        if not is_closed:
            gym.record(None, name, gym.append(name, [Outcome(workflow_outcome="failure").event()], "default"))
            looked_at()
    assert len(seen) > 4


def test_a_conversation_counts_once(brain: Brain) -> None:
    assert brain.gym is not None
    observe(brain.gym, "long", [RIGHT] * 9 + [WRONG], RIGHT)
    observe(brain.gym, "short", [WRONG], RIGHT)
    found = intent_of(brain)
    assert (found.agreement, found.turns) == (0.45, 11)


def test_too_little_agreement_is_not_enough(brain: Brain) -> None:
    assert brain.gym is not None
    for number in range(40):
        observe(brain.gym, f"c{number}", [WRONG if number % 8 == 0 else RIGHT], RIGHT)
    found = intent_of(brain)
    assert found.lower is not None and found.agreement == 0.875
    assert found.missing == (f"agreement at least {found.lower:.2f}, needed 0.80",)


def test_turns_without_an_answer_are_not_enough(brain: Brain) -> None:
    assert brain.gym is not None
    for number in range(100):
        observe(brain.gym, f"c{number}", [None if number % 50 == 0 else RIGHT], RIGHT)
    found = intent_of(brain)
    assert found.fault_rate == 0.02 and found.agreement == 0.98
    assert found.missing == ("2.0% of the turns without an answer, needed under 1%",)


def test_a_version_that_has_lost_is_not_ready(brain: Brain) -> None:
    assert brain.gym is not None
    for number in range(60):
        observe(brain.gym, f"c{number}", [RIGHT], RIGHT)
    enrol(brain, "trial", "default", "intent", "v0.0", "v1.0")
    assert intent_of(brain).ready and "not decided yet, after 0 conversations" in str(intent_of(brain).ab)
    brain.gym.trials.end("trial", Ending("B", "v1.0 is better than v0.0"))
    assert intent_of(brain).missing == ("v0.0 has lost the A/B test trial",)
    assert str(intent_of(brain).ab).startswith("v1.0 is better than v0.0; ")


def test_what_the_agent_did_is_no_accuracy_and_the_course_names_its_versions(brain: Brain) -> None:
    assert brain.gym is not None
    for number in range(30):
        version = "v0.0" if number < 10 else "v1.0"
        observe(brain.gym, f"c{number:02}", [{"next_step": "ask_phone"}], {}, version=version, closed=False)
        reply = Event("agent_message", "May I have your number?", "ask_phone", "a0")
        outcome = Outcome(workflow_outcome="success").event()
        brain.gym.record(None, f"c{number:02}", brain.gym.append(f"c{number:02}", [reply, outcome], "default"))
    found = intent_of(brain)
    assert found.ready and found.sources == {"hindsight": 30}
    assert rests_on(found.sources).endswith("with the agents it is agreement, not accuracy.")
    assert [(point.conversations, point.versions) for point in found.course] == [(10, ("v0.0",)), (20, ("v1.0",))]


def test_a_reply_is_compared_as_the_metric_does(brain: Brain) -> None:
    """Words in common, and nothing where the conversation failed."""
    assert brain.gym is not None
    said = {"fields": {"proposed_response": "May I have your phone number?"}, "version": "v0.0", "model": "x"}
    for name, outcome in (("a", "success"), ("b", "failure")):
        observe(brain.gym, name, [RIGHT], {}, closed=False)
        decision = brain.gym.decision(name, 0)
        assert decision is not None
        brain.gym.record(decision.model_copy(update={"readings": {"response": said}}), name, [])
        reply = Event("agent_message", "What number can we reach you at?", message_id="a0")
        ending = Outcome(workflow_outcome=outcome).event()
        brain.gym.record(None, name, brain.gym.append(name, [reply, ending], "default"))
    found = readiness(brain)["response"]
    assert (found.conversations, found.agreement) == (1, 0.2198)
