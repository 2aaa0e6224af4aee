"""Which turns are asked about first, and what becomes of a label."""

from typing import Any

import pytest

from understudy.checkpoints.gym import Gym
from understudy.events import BrainDecision, Event, Label, Outcome
from understudy.intake import InputError
from understudy.nodes.ab_life import enrol
from understudy.nodes.brain import Brain
from understudy.reviewing import Asked, choices, fields, labelled_today, look, queue, save, undo


def observe(gym: Gym, name: str, *said: dict[str, Any] | None, action: str | None = None, outcome: Any = None) -> None:
    """Let a conversation happen: what the modules said of its turns (None: nothing), and what followed."""
    for turn, given in enumerate(said):
        fields = {"intent": "booking", "next_step": "greet", "confidence": 1.0, **(given or {})}
        events = gym.append(name, [Event("customer_message", f"turn {turn}", message_id=f"m{turn}")], "default")
        readings = {
            "intent": {"fields": fields, "version": "v0.0"},
            "conflict": {"fields": {"conflict_type": "none", "confidence": 1.0}, "version": "v0.0"},
            "quality": {"fields": {"user_satisfaction": 0.5, "confidence": 1.0}, "version": "v0.0"},
        }
        decision = BrainDecision(
            decision_id=f"{name} {turn}", conversation_id=name, turn=turn, message_id=f"m{turn}", profile="default",
            created_at=f"2026-01-01T00:00:{turn:02}Z", user_message=f"turn {turn}", history_upto=events[0].seq,
            next_step=fields["next_step"], readings={} if given is None else readings, faults=[], versions={},
            models={}, tokens_in=1, tokens_out=1, latency_ms=1.0, engine="embedded", brain_mode="shadow",
        )  # fmt: skip
        gym.record(decision, name, events)
        reply = Event("agent_message", "Yes.", action or "greet", f"a{turn}")
        gym.record(None, name, gym.append(name, [reply], "default"))
    if outcome:
        gym.record(None, name, gym.append(name, [Outcome(**outcome).event()], "default"))


def asked(brain: Brain, field: str = "intent", **more: Any) -> list[str]:
    return [f"{one.conversation_id} {one.turn}" for one in queue(brain, brain.profile(None), field, **more)]


@pytest.fixture
def gym(brain: Brain) -> Gym:
    assert brain.gym is not None
    return brain.gym


def test_what_teaches_most_comes_first(brain: Brain, gym: Gym) -> None:
    observe(gym, "common", *[{}] * 9)
    for turn in range(9):
        gym.learn("common", [Label(turn=turn, fields={"intent": "booking"}).event()], "default")
    observe(gym, "sure", {})
    observe(gym, "unsure", {"confidence": 0.3})
    observe(gym, "other step", {}, action="ask_time")
    observe(gym, "no answer", None)
    enrol(brain, "trial", "default", "intent", "v0.0", "v1.0")
    observe(gym, "disputed", {"confidence": 0.9})
    for name, b in (("disputed", "inquiry"), ("sure", "booking")):
        sides = {"answer_a": {"intent": "booking"}, "answer_b": {"intent": b}, "first": "A"}
        gym.trials.keep("trial", name, 0, {**sides, "ms_a": 1, "ms_b": 1, "tokens_a": 1, "tokens_b": 1})
    found = queue(brain, brain.profile(None), "intent")
    assert [one.conversation_id for one in found] == ["disputed", "no answer", "other step", "unsure", "sure"]
    assert "the two versions under test differ" in found[0].reasons
    assert found[2].reasons[0] == "what happened speaks against what the brain said"
    assert found[1].reasons == ("it has no answer",) and "the brain is unsure" in found[3].reasons


def test_an_end_that_was_not_foreseen_is_asked_about(brain: Brain, gym: Gym) -> None:
    observe(gym, "failed", {}, outcome={"workflow_outcome": "failure"})
    observe(gym, "well", {}, outcome={"user_satisfaction": 0.5})
    assert asked(brain, "user_satisfaction") == ["failed 0", "well 0"]
    assert asked(brain, "conflict_type") == ["failed 0", "well 0"]


def test_a_rare_label_goes_before_a_common_one_and_a_new_turn_before_an_old_one(brain: Brain, gym: Gym) -> None:
    observe(gym, "labelled", {}, {})
    for turn in range(2):
        gym.learn("labelled", [Label(turn=turn, fields={"intent": "booking"}).event()], "default")
    observe(gym, "old", {})
    observe(gym, "rare", {"intent": "complaint"})
    observe(gym, "new", {})
    assert asked(brain) == ["rare 0", "new 0", "old 0"]


def test_no_conversation_is_asked_about_twice_before_all_others(brain: Brain, gym: Gym) -> None:
    observe(gym, "a", {"confidence": 0.1}, {"confidence": 0.1})
    observe(gym, "b", {})
    assert asked(brain) == ["a 1", "b 0", "a 0"]
    assert asked(brain, but={("a", 1)}) == ["a 0", "b 0"]


def test_a_label_is_evidence_of_a_person_and_can_be_taken_back(brain: Brain, gym: Gym) -> None:
    observe(gym, "a", {})
    one = queue(brain, brain.profile(None), "intent")[0]
    event = save(brain, one, "intent", "complaint", "ada")
    kept = [row for row in gym.evidence("a", 0) if row["field"] == "intent"]
    assert [(row["value"], row["source"], row["author"]) for row in kept] == [("complaint", "human", "ada")]
    assert asked(brain) == [] and asked(brain, "conflict_type") == ["a 0"]
    assert labelled_today(gym, "intent") == 1 and labelled_today(gym, "conflict_type") == 0
    before = gym.material.newest_ids()
    assert undo(brain, event) and not undo(brain, event)
    assert asked(brain) == ["a 0"] and labelled_today(gym, "intent") == 0
    assert gym.count_evidence(["intent"]) == 0 and gym.count_evidence(["next_step"]) == 1
    assert save(brain, one, "intent", "inquiry", "") > event, "a number is not given again"
    assert gym.material.newest_ids()["evidence"] > before["evidence"]


def test_nothing_but_a_person_s_label_is_taken_back(brain: Brain, gym: Gym) -> None:
    observe(gym, "a", {})
    teacher = Label(turn=0, fields={"intent": "booking"}).event()
    teacher.payload["source"] = "teacher"
    written = gym.learn("a", [teacher], "default")
    assert not undo(brain, written[0].id) and not undo(brain, 1)
    assert gym.count_evidence(["intent"]) == 1 and gym.has_turn("a", 0)


def test_what_does_not_fit_is_refused(brain: Brain, gym: Gym) -> None:
    observe(gym, "a", {})
    for where, value, why in ((0, "weather", "labels.intent"), (1, "booking", "has no turn 1")):
        with pytest.raises(InputError, match=why):
            save(brain, Asked("a", where, 0, ()), "intent", value, "ada")
    assert look(brain, Asked("gone", 0, 0, ())) is None


def test_a_turn_is_shown_up_to_its_own_message(brain: Brain, gym: Gym) -> None:
    observe(gym, "a", *[{}] * 12)
    shown = look(brain, Asked("a", 11, 0, ()))
    assert shown is not None and shown.is_cut and len(shown.lines) == 16
    assert shown.lines[-1].text == "turn 11" and shown.lines[-1].seq == shown.decision.history_upto
    first = look(brain, Asked("a", 0, 0, ()))
    assert first is not None and not first.is_cut and [line.text for line in first.lines] == ["turn 0"]


def test_what_can_be_asked_for_follows_from_the_profile(brain: Brain) -> None:
    profile = brain.profile(None)
    assert fields(profile) == ["intent", "conflict_type", "next_step", "user_satisfaction"]
    assert [one.value for one in choices(profile, "user_satisfaction")] == [0.0, 0.25, 0.5, 0.75, 1.0]
    booking = choices(profile, "intent")[0]
    assert booking.value == "booking" and booking.holds(" Appointment ") and not booking.holds("weather")
    bare = profile.model_copy(update={"next_steps": {}})
    assert "next_step" not in fields(type(profile).model_validate(bare.model_dump()))
