import json
import random

import pytest
from dspy.lm15 import Config, Message, Request
from hypothesis import given, settings
from hypothesis import strategies as st

from understudy.lm.embedded import EmbeddedStudent, answer
from understudy.lm.register import register_of
from understudy.nodes.keeping import broken

LABELS = [
    "formality_up",
    "formality_down",
    "emoji_added",
    "emoji_removed",
    "tone_friendly",
    "tone_urgent",
    "tone_apologetic",
    "vocabulary_simpler",
    "vocabulary_richer",
    "enthusiasm",
    "name_used",
]
FORMAL = {"formality": "formal"}
CASUAL = {"formality": "casual"}
SHORT_CASUAL = {"formality": "casual", "length": "short"}
EMOJI = {"emoji": True}


def schema(labels=LABELS, longest=4000):
    properties = {
        "personalized_message": {"type": "string", "maxLength": longest},
        "modifications": {"type": "array", "items": {"enum": labels, "type": "string"}},
        "confidence": {"type": "number", "minimum": 0, "maximum": 1},
        "reasoning": {"type": "string"},
    }
    return {"type": "object", "properties": properties, "required": list(properties)}


def said(*texts, role="customer"):
    return [{"role": role, "text": text} for text in texts]


def told(reply, likes=None, history=(), name=None, instruction="", **how):
    customer = {"preferences": likes or {}, **({"name": name} if name else {})}
    return answer(
        instruction, schema(**how), [], {"history": list(history), "customer_profile": customer, "reply": reply}
    )


def text(reply, likes=None, history=(), name=None, instruction="", **how):
    return told(reply, likes, history, name, instruction, **how)["personalized_message"]


@pytest.mark.parametrize(
    ("texts", "low", "high"),
    [
        (["hey, can u tell me where my order is lol"], 0.0, 0.3),
        (["yo", "i dont know", "gonna need that today pls"], 0.0, 0.3),
        (["Good morning. I would like to inquire about my order.", "Could you please assist me?"], 0.8, 1.0),
        (["Dear team, I am writing about my invoice. Kind regards"], 0.7, 1.0),
        (["Mark"], 0.5, 0.5),
        ([], 0.5, 0.5),
        (["Wann kommt meine Bestellung an? Ich warte so lange"], 0.5, 0.5),
    ],
)
def test_formality_is_read_off_the_messages(texts, low, high):
    assert low <= register_of(texts).formality <= high


def test_a_register_is_plain_json_with_shares_and_means():
    register = register_of(["Hi! \N{GRINNING FACE}", "where is my order", "", "It is late :)", "Thank you!"])
    assert json.loads(json.dumps(register.to_json())) == {
        "messages": 4,
        "words": 2.5,
        "emoji": 0.5,
        "formality": register.formality,
        "exclaims": 0.5,
        "language": "en",
    }


@pytest.mark.parametrize(
    ("message", "language"),
    [
        ("Where is my order? It should be here by now.", "en"),
        ("Gracias por su paciencia, ¿me puede decir su número?", "other"),
        ("Vielen Dank für Ihre Geduld.", "other"),
        ("Votre commande est en route", "other"),
        ("Где мой заказ?", "other"),
        ("Merci", ""),
        ("5:30", ""),
    ],
)
def test_language(message, language):
    assert register_of([message]).language == language


@pytest.mark.parametrize(
    ("likes", "reply", "wanted", "label"),
    [
        (FORMAL, "I'm sorry, I can't find it.", "I am sorry, I cannot find it.", "formality_up"),
        (FORMAL, "Hey, we won't charge you.", "Hello, we will not charge you.", "formality_up"),
        (FORMAL, "OK, it's done!", "Very well, it is done.", "formality_up"),
        (FORMAL, "Can you tell me more?", "Can you please tell me more?", "formality_up"),
        (CASUAL, "Certainly, I am on it.", "Sure, I'm on it.", "formality_down"),
        (CASUAL, "We do not ship there. It is too far.", "We don't ship there. It's too far.", "formality_down"),
        (CASUAL, "I can’t say, but we do not think so.", "I can’t say, but we don’t think so.", "formality_down"),
        (CASUAL, "For what time should it be?", "What time should it be for?", "formality_down"),
        (CASUAL, "Do you know how much it is per night?", None, None),
        (CASUAL, "Do NOT press it.", None, None),
        (FORMAL, "Why don't we try?", None, None),
        (EMOJI, "Your ride is booked.", "Your ride is booked. \N{WHITE HEAVY CHECK MARK}", "emoji_added"),
        (EMOJI, "We could not find it.", None, None),
        (EMOJI, "Your fraud report is submitted.", None, None),
        ({"emoji": False}, "All done! \N{PARTY POPPER}", "All done!", "emoji_removed"),
        ({"emoji": False}, "Thanks! \N{GRINNING FACE} We ship today.", "Thanks! We ship today.", "emoji_removed"),
        ({"emoji": False}, "Tap the \N{LOCK} icon.", None, None),
        ({"style": "friendly"}, "You're welcome!", "You're very welcome!", "tone_friendly"),
        ({"style": "friendly"}, "Goodbye.", "Goodbye. Take care!", "tone_friendly"),
        ({"length": "short"}, "You require an inquiry number.", "You need a question number.", "vocabulary_simpler"),
        ({"length": "short"}, "Purchased items are final.", "Bought items are final.", "vocabulary_simpler"),
        ({"length": "short"}, "Visit our Purchase Desk.", None, None),
        ({"length": "long"}, "How can I help?", "How can I assist you?", "vocabulary_richer"),
        ({"length": "long"}, "You need to buy one.", "You need to purchase one.", "vocabulary_richer"),
        (
            {"length": "short"},
            "The hotel on the hill ticks every box you have named so far, can I book it?",
            "The hotel on the hill ticks every box you have named so far. Can I book it?",
            "vocabulary_simpler",
        ),
        (
            {"length": "long"},
            "Your ride is here. Your driver is Zoe.",
            "Your ride is here, and your driver is Zoe.",
            "vocabulary_richer",
        ),
        ({"tone": "enthusiastic"}, "Your ride is booked.", "Your ride is booked!", "enthusiasm"),
        ({"tone": "enthusiastic"}, "Sorry, your ride is not booked.", None, None),
    ],
)
def test_an_operation_changes_the_text_and_names_itself(likes, reply, wanted, label):
    got = told(reply, likes)
    assert (got["personalized_message"], got["modifications"]) == (wanted or reply, [label] if label else [])


@pytest.mark.parametrize(
    ("reply", "wanted"),
    [
        ("Could you tell me your address?", "Ines, could you tell me your address?"),
        ("Hello! How can I help?", "Hello Ines! How can I help?"),
        ("Thank you and goodbye.", "Thank you and goodbye, Ines."),
        ("I'm sorry, but it is sold out.", "I'm sorry, Ines, but it is sold out."),
        ("OK, I have found it.", "OK, Ines, I have found it."),
        ("When are you arriving?", "When are you arriving, Ines?"),
        ("I have found it.", "Ines, I have found it."),
        ("May I have your name, please?", None),
        ("Tamarind is cheap.", None),
        ("Will is not available.", None),
        ("Hi Ben, it is done.", None),
        ("Dear ines, it is done.", None),
    ],
)
def test_the_name_goes_where_a_person_would_put_it(reply, wanted):
    assert text(reply, name="Ines Duarte") == (wanted or reply)


def test_the_name_is_not_used_again_and_again():
    history = [*said("Hello"), *said("Hi Ines, how can I help?", role="agent"), *said("A ride")]
    assert text("When are you leaving?", history=history, name="Ines") == "When are you leaving?"


@pytest.mark.parametrize(
    "name",
    [
        "x" * 10000,
        "Ines\n",
        "<b>Ines</b>",
        "https://ines.example",
        "a b c d",
        "null",
        "J",
        "",
        5,
        None,
        ["Ines"],
        {"x": 1},
    ],
)
def test_what_is_no_plain_name_is_not_used(name):
    shown = {"history": [], "customer_profile": {"name": name}, "reply": "When are you leaving?"}
    assert answer("", schema(), [], shown)["modifications"] == []


@pytest.mark.parametrize(
    ("newest", "reply", "wanted", "label"),
    [
        (
            "This is ridiculous, I am fed up",
            "It was sent to the depot.",
            "I am sorry for the trouble. It was sent to the depot.",
            "tone_apologetic",
        ),
        ("This is ridiculous, I am fed up", "I am sorry about it.", None, None),
        (
            "Please hurry, it is urgent",
            "Actually, I just need the code.",
            "I need the code.",
            "tone_urgent",
        ),
        (
            "Please hurry, it is urgent",
            "We need the number for the search. Please enter the code.",
            "Please enter the code. We need the number for the search.",
            "tone_urgent",
        ),
    ],
)
def test_the_newest_message_sets_the_tone(newest, reply, wanted, label):
    got = told(reply, history=said("Good afternoon, my parcel is late.", newest))
    assert got["personalized_message"] == (wanted or reply)
    assert got["modifications"] == ([label] if label else [])


def test_thanks_for_an_answer_and_none_for_a_question_back():
    asked = [*said("a ride"), *said("Where are you?", role="agent")]
    likes = {"style": "friendly"}
    assert text("And where to?", likes, [*asked, *said("at home")]) == "Thanks! And where to?"
    assert text("And where to?", likes, [*asked, *said("why?")]) == "And where to?"


def test_preferences_win_over_the_register():
    formal = said("Good morning. I would like to inquire about my order.", "Could you please assist me?")
    assert told("I'm here.", history=formal)["modifications"] == ["formality_up"]
    assert told("I am here.", CASUAL, formal)["modifications"] == ["formality_down"]


@pytest.mark.parametrize(
    "likes",
    [
        {"formality": "informal"},
        {"Formality": 0.1},
        {"style": "very casual please"},
        {"casual": True},
        {"profile": {"communication style": "relaxed"}},
    ],
)
def test_preferences_stand_under_many_keys(likes):
    assert text("I am here now.", likes) == "I'm here now."


@pytest.mark.parametrize(
    ("instruction", "label", "on"),
    [
        ("Never add emoji.", "emoji_added", False),
        ("Rewrite it. No emoji.", "emoji_added", False),
        ("Rewrite it.", "emoji_added", True),
        ("Do not use the customer's name.", "name_used", False),
        ("Never use emoji, exclamation marks or the customer's name.", "name_used", False),
        ("Keep every name as it is.", "name_used", True),
        ("Do not change the vocabulary.", "vocabulary_simpler", False),
        ("Keep the reply formal.", "formality_down", False),
        ("Don't use contractions.", "formality_down", False),
        ("", "formality_down", True),
    ],
)
def test_a_sentence_of_the_instruction_switches_an_operation(instruction, label, on):
    likes = {"formality": "casual", "emoji": True}
    got = told("Your ride is confirmed. I am here, you require it.", likes, name="Ines", instruction=instruction)
    assert (label in got["modifications"]) == on


def test_what_depends_on_the_customer_switches_nothing():
    order = "Never add emoji when the customer uses none."
    assert told("It is booked.", EMOJI, instruction=order)["modifications"] == ["emoji_added"]


def test_the_instruction_switches_on_what_nobody_asked_for():
    assert text("I'm here.", instruction="Keep the reply formal.") == "I am here."
    assert text("You require it.", instruction="Use simple words.") == "You need it."


@pytest.mark.parametrize(
    "kept",
    [
        '"I do not require it"',
        "'do not require'",
        "`do not require`",
        "https://x.example/do-not-require",
        "do-not-require@x.example",
        "<do not require>",
        "**do not require**",
        "do_not_require",
    ],
)
def test_quotes_addresses_and_code_stay(kept):
    assert text(f"I do not require {kept} today.", SHORT_CASUAL) == f"I don't need {kept} today."


@pytest.mark.parametrize("reply", ["Vielen Dank für Ihre Geduld und bis bald.", "", "   ", "Hi! " * 30000])
def test_what_cannot_be_reworded_comes_back_as_it_is(reply):
    got = told(reply, {"formality": "casual", "emoji": True}, name="Ines")
    assert (got["personalized_message"], got["modifications"]) == (reply, [])


def test_the_schema_bounds_labels_and_length():
    reply = "We do not require it."
    assert told(reply, SHORT_CASUAL, labels=["name_used", "formality_down"])["modifications"] == ["formality_down"]
    assert told(reply, EMOJI, longest=len(reply))["modifications"] == []


def test_confidence_grows_with_what_is_known():
    none = told("I'm here.")["confidence"]
    few = told("I'm here.", history=said("Good morning, I would like to inquire."))["confidence"]
    more = told("I'm here.", FORMAL, said(*["Good morning, I would like to inquire."] * 5))["confidence"]
    assert none == 0.5 < few < more <= 0.9


def test_the_reason_names_the_preference_and_the_change():
    reason = told("I'm here.", FORMAL)["reasoning"]
    assert reason == "The customer prefers formal replies, uses no emoji (0 messages known): formality up."


def test_the_engine_answers_a_request_the_same_way():
    shown = {"history": said("hi"), "customer_profile": {"preferences": CASUAL}, "reply": "I am here now."}
    request = Request(
        model="embedded",
        system="Reword.",
        messages=(Message.user(json.dumps(shown)),),
        config=Config(response_format={"type": "json_schema", "schema": schema()}),
    )
    got = json.loads(EmbeddedStudent().complete(request).message.text)
    assert got == answer("Reword.", schema(), [], shown)
    assert got["personalized_message"] == "I'm here now."


PIECES = (
    "Hello OK I'm I am do not don't can't, sorry, thanks! goodbye. require purchase a an the your name? Ines 5pm $20 "
    "https://x.example \"quote 'it' `code` \N{GRINNING FACE} :) , and we ; please? "
    "\n \u2019 \U000f0000 [x] **b** Will it is"
)
WORDS = st.sampled_from(PIECES.split(" "))
REPLIES = st.lists(WORDS, max_size=25).map(" ".join) | st.text(max_size=200)
LEAVES = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20) | REPLIES
KEYS = st.sampled_from(["name", "preferences", "formality", "emoji", "length", "tone", "role", "text"]) | st.text(
    max_size=5
)
ANY = st.recursive(
    LEAVES, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=4), max_leaves=8
)
CHOICES = st.fixed_dictionaries(
    {},
    optional={
        "formality": st.sampled_from(["formal", "casual"]),
        "emoji": st.booleans(),
        "length": st.sampled_from(["short", "long"]),
        "tone": st.sampled_from(["friendly", "enthusiastic"]),
    },
)


@settings(max_examples=150)
@given(
    st.fixed_dictionaries(
        {"reply": REPLIES, "customer_profile": ANY | CHOICES.map(lambda likes: {"name": "Ines", "preferences": likes})},
        optional={
            "history": ANY | st.lists(st.builds(lambda t: {"role": "customer", "text": t}, REPLIES)),
            "manner": ANY,
        },
    ),
    st.text(max_size=50) | st.sampled_from(["Never add emoji.", "Always use the customer's name."]),
)
def test_any_input_gets_an_honest_answer(inputs, instruction):
    got = answer(instruction, schema(), [], inputs)
    assert set(got["modifications"]) <= set(LABELS)
    assert (got["modifications"] == []) == (got["personalized_message"] == inputs["reply"])
    assert 0 <= got["confidence"] <= 1
    assert answer(instruction, schema(), [], inputs) == got


@settings(max_examples=100)
@given(ANY)
def test_any_reply_and_register_is_survived(thing):
    inputs = {"reply": thing, "manner": thing, "history": thing, "customer_profile": thing}
    assert isinstance(answer("", schema(), [], inputs)["personalized_message"], str)


PROFILES = [
    ({"formality": formality, **emoji, **length}, name)
    for formality, emoji, length, name in [
        ("formal", {"emoji": True}, {"length": "short"}, "Ines Duarte"),
        ("formal", {}, {"length": "long"}, None),
        ("formal", {"emoji": False}, {"length": "short"}, None),
        ("formal", {"emoji": False}, {"length": "long"}, "mei li"),
        ("formal", {}, {"length": "short"}, "Ines Duarte"),
        ("casual", {"emoji": True}, {"length": "short"}, "mei li"),
        ("casual", {}, {"length": "long"}, None),
        ("casual", {"emoji": False}, {"length": "short"}, None),
        ("casual", {"emoji": True}, {"length": "long"}, None),
        ("casual", {}, {"length": "short"}, "Ines Duarte"),
    ]
]


@pytest.fixture
def turns(data):
    """Five hundred real replies of agents, each with the conversation before it and the customer's register."""
    found = []
    for line in (data / "star.jsonl").read_text().splitlines():
        talk = json.loads(line)["messages"]
        found += [(talk[i]["text"], talk[:i]) for i in range(len(talk)) if talk[i]["role"] == "agent"]
    return [(reply, before, manner_of(before)) for reply, before in random.Random(5).sample(found, 500)]


def manner_of(history):
    return register_of([one["text"] for one in history if one["role"] == "customer"]).to_json()


def test_real_replies_change_and_keep_what_they_say(turns):
    shares = []
    for likes, name in PROFILES:
        customer = {"name": name, "preferences": likes}
        changed = []
        for reply, history, manner in turns:
            shown = {"history": history, "customer_profile": customer, "manner": manner, "reply": reply}
            got = answer("", schema(), [], shown)
            if got["modifications"]:
                changed.append((reply, got["personalized_message"]))
        sound = [pair for pair in changed[::5] if not broken(*pair, customer_names=set((name or "").split()))]
        shares.append((len(changed) / len(turns), len(sound) / len(changed[::5])))
    assert min(changed for changed, _ in shares) > 0.5
    assert sum(changed for changed, _ in shares) / len(shares) > 0.7
    assert min(sound for _, sound in shares) > 0.95
