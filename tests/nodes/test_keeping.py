"""The check of a rewritten reply: whatever must stay is missed when it goes, and a harmless rewording passes."""

import json
import random
import re
import string
import time
from pathlib import Path

import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from understudy.nodes.keeping import LONGEST_CHECKED, LONGEST_LINE, MOST_LINES, broken

HARMLESS = [
    # contractions and long forms
    ("I don't have that.", "I do not have that."),
    ("I do not have that.", "I dont have that 😕"),
    ("I can't book it.", "I cannot book it!"),
    ("I cannot book it.", "I can not book it."),
    ("It won\u2019t start; it isn\u2019t plugged in.", "It will not start, it is not plugged in."),
    ("We'll send it.", "We will send it."),
    ("I am unable to book it.", "I can't book it."),
    ("I will book it.", "I'm gonna book it"),
    ("I will book it.", "Hi! I'm going to book it 🙂"),
    ("Let me check that for you.", "I'll check that for you."),
    ("Sorry that time is unavailable.", "Sorry, that time isn't available."),
    ("The flight is not available any more.", "The flight is no longer available."),
    ("There is no room available.", "There isn't any room available."),
    ("There are no hotels that match.", "Sorry, there aren't any hotels that match."),
    ("Nope, nobody is here.", "No, no one is here."),
    # greetings, thanks, courtesy, idioms
    ("May I have your name, please?", "Could you tell me your name?"),
    ("May I have your name, please?", "Hey, what's your name? 😊"),
    ("What is your name?", "Good morning! Would you kindly tell me your name, please?"),
    ("Thank you and goodbye.", "Thanks, bye!"),
    ("Thanks.", "Thank you very much!"),
    ("Is there anything else that I can do for you?", "Can I help you with anything else?"),
    ("Your ride is booked.", "Great, your ride is booked! Is there anything else?"),
    ("Provide your PIN.", "Could you provide your PIN please?"),
    ("No problem, I have booked it.", "Sure! I have booked it."),
    ("It is done.", "No worries, it is done."),
    ("Please don't hesitate to ask.", "Please feel free to ask."),
    ("Hello, how can I help?", "Hey there! How can I help you?"),
    ("Yes, I did.", "Yeah, I did"),
    ("I would be happy to help.", "Happy to help!"),
    ("I would like to confirm that.", "I want to confirm that."),
    # simpler words, sentences parted and joined
    ("Please purchase a ticket prior to Friday.", "Please buy a ticket before Friday."),
    ("You require a permit, which you purchase online.", "You need a permit. You buy it online."),
    ("I'm sorry, your request was unsuccessful.", "Sorry! Your request was not successful."),
    ("On what day and at what time?", "What day? And what time?"),
    ("What day? What time?", "What day and what time?"),
    ("Where are you departing from?", "Where do you leave from?"),
    # numbers, prices, times, dates
    ("Your total is 1,200 credits.", "Your total is 1200 credits."),
    ("There are two rooms on the first floor.", "There are 2 rooms on the 1st floor."),
    ("There are twenty-one rooms and a hundred beds.", "There are 21 rooms and 100 beds."),
    ("A dozen eggs.", "12 eggs."),
    ("One moment, please.", "Just a moment please."),
    ("I have one ticket.", "I have 1 ticket."),
    ("Call 555 123 now.", "Call 555123 now."),
    ("It costs $20.", "It costs 20 dollars."),
    ("It costs $20.00.", "It costs USD 20."),
    ("It costs 15 €.", "It costs 15 euros!"),
    ("It is 5% off.", "It is 5 percent off."),
    ("Wait two hours and 20 minutes.", "Wait 2 hrs and 20 min, please."),
    ("See you at 5pm.", "See you at 5 p.m. then!"),
    ("It is at 2:00 pm on Mon.", "It's on Monday at 2 PM."),
    ("It is 2 pm-4 pm.", "It is from 2 pm to 4 pm."),
    ("18 May 2024 works.", "May 18th, 2024 works!"),
    ("2024-05-18 works.", "18 May 2024 works."),
    ("It was about 5 degrees celsius.", "It was around 5 °C."),
    # names and links
    ("OK, and is Tamarind good?", "And is tamarind good? OK."),
    ("Your id is 'AB-12c'.", "Your ID is ab-12C 👍"),
    ("Dr. Morgan is free.", "Morgan is free, doctor!"),
    ("It is Cheap and in the East.", "It's cheap and in the east."),
    ("Visit https://x.y/a?b=1.", "Have a look at https://x.y/a?b=1"),
    ("Write to Help@example.com, please.", "Just write to Help@example.com"),
    # real replies
    (
        "Unfortunately Fred is not able to make Friday @ 11 am.\nWould you like to try scheduling for another time?",
        "Sorry, Fred can't make Friday at 11am. Do you want to try scheduling for another time?",
    ),
    (
        "It will be Raining all day on Saturday in Los Angeles, with temperatures of around 5 degrees celsius.",
        "It'll be raining all day on Saturday in Los Angeles ☔ with temperatures of about 5 °C.",
    ),
    (
        "I am sorry, I don't quite understand what you mean. I am only able to help you search for hotels.",
        "Sorry, I don't understand what you mean. I can only help you search for hotels.",
    ),
    (
        "OK, the Tamarind is happy to accommodate you.\nCan I confirm your reservation with them?",
        "Great news! The Tamarind is happy to accommodate you. Shall I confirm your reservation with them?",
    ),
    ("Das Zimmer ist am Montag frei, Frau Weber.", "Hallo! Am Montag ist das Zimmer frei, Frau Weber."),
]


@pytest.mark.parametrize(("original", "rewritten"), HARMLESS)
def test_a_harmless_rewriting_is_sound(original: str, rewritten: str) -> None:
    assert broken(original, rewritten, customer_names=["Hallo"]) == []


WRONG = [
    # negations
    ("I don't have that.", "I have that.", "a negation is missing (not)"),
    ("I have that.", "I don't have that.", "a negation is new (not)"),
    ("That is unavailable.", "That is available.", "a negation is missing (not)"),
    ("It is never late.", "It is late.", "a negation is missing (never)"),
    ("Nobody is there.", "Somebody is there.", "a negation is missing (nobody)"),
    ("Enter without a ticket.", "Enter with a ticket.", "a negation is missing (without)"),
    ("No, it is open.", "It is not open.", "a negation is new (not)"),
    ("There is no problem with it.", "There is a problem with it.", "a negation is missing (no)"),
    ("It is available.", "It is n\u200dot available.", "a negation is new (not)"),
    ("It is available.", "It is n\u043et available.", "a negation is new (not)"),
    ("Lucca is free. Legume is not free.", "Lucca is not free. Legume is free.", "a negation has moved"),
    ("Friday is free and Monday is not.", "Friday is not free and Monday is.", "a negation has moved"),
    ("You can cancel but cannot change it.", "You cannot cancel but can change it.", "a negation has moved"),
    ("You can't use it after Friday.", "You can use it after Friday, not before.", "the word can not is missing"),
    ("We open at 9.", "We close at 9.", "the word close is new"),
    ("Please don't hesitate to ask.", "Please do hesitate to ask.", "the word hesitate is new"),
    ("Your request was accepted.", "Your request was declined.", "the word declined is new"),
    # promises
    ("We will call you.", "We may call you.", "a promise is missing (We will call)"),
    ("We may call you.", "We will call you.", "a promise is new (We will call)"),
    ("We call you.", "We'll call you.", "a promise is new (We will call)"),
    ("It should arrive.", "It might arrive.", "the word might is new"),
    ("We will call you.", "You will call us.", "somebody else is meant now (you will)"),
    ("You owe us that.", "We owe you that.", "somebody else is meant now (we owe)"),
    ("I'll book it.", "I'll probably book it.", "a promise is new (probably)"),
    ("I will book it.", "I will try to book it.", "a promise is new (try)"),
    ("I booked it.", "I booked it for free.", "a promise is new (free)"),
    ("You get a refund.", "You get a voucher.", "a promise is missing (refund)"),
    ("We guarantee it.", "We believe it.", "a promise is missing (guarantee)"),
    ("We do it right away.", "We do it.", "a promise is missing (immediately)"),
    ("We refund you if it is broken.", "We refund you.", "the word if is missing"),
    ("Can I book it?", "I can book it.", "a question is missing"),
    # numbers
    ("I booked one ticket.", "I booked two tickets.", "the number 2 is new"),
    ("The total is 120.", "The total is there.", "the number 120 is missing"),
    ("The total is there.", "The total is 120.", "the number 120 is new"),
    ("2 adults and 3 children.", "3 adults and 2 children.", "the numbers stand in another order"),
    ("2 adults and 3 children.", "2 children and 3 adults.", "a number has moved"),
    ("Room 450, gate 12.", "Gate 450, room 12.", "a number has moved"),
    ("Three hundred of them.", "Three thousand of them.", "the number 3000 is new"),
    ("It is 1.5 km away.", "It is 15 km away.", "the number 15 km is new"),
    ("Wait 5 minutes.", "Wait 5 hours.", "the number 5 hours is new"),
    ("It was 5 days ago.", "It is in 5 days.", "the number 5 days ago is missing"),
    ("It's 5 degrees.", "It's -5 degrees.", "the number -5 degrees is new"),
    ("At least 3 guests.", "3 guests.", "the number at least 3 is missing"),
    ("It takes 2 weeks at most.", "It takes 2 weeks.", "the number 2 weeks at most is missing"),
    ("Call within 24 hours.", "Call in 24 hours.", "the number within 24 hours is missing"),
    ("On the second floor.", "On the third floor.", "the number 3rd is new"),
    ("DT-3307 is ready.", "DT-3308 is ready.", "the number DT-3308 is new"),
    ("Dial 0555 123.", "Dial 555 123.", "the number 0555123 is missing"),
    ("Press 5\ufe0f\u20e3.", "Press 6\ufe0f\u20e3.", "the number 6 is new"),
    # prices
    ("It is $20.", "It is $25.", "the price $25 is new"),
    ("It is $20.", "It is €20.", "the price €20 is new"),
    ("It is $20.", "It is 20.", "the price $20 is missing"),
    ("Pay $528 per month.", "Pay $528 per week.", "the date every week is new"),
    # dates and times
    ("Come before 5pm.", "Come after 5pm.", "the time after 5pm is new"),
    ("Come by 5pm.", "Come at 5pm.", "the time by 5pm is missing"),
    ("Come at 5.", "Come at 5 pm.", "the time 5 pm is new"),
    ("Come at 5 am.", "Come at 5 pm.", "the time 5 pm is new"),
    ("It is 2-4 pm.", "It is 2-5 pm.", "the time to 5 pm is new"),
    ("Come on Friday.", "Come on Sat.", "the date friday is missing"),
    ("Come until Friday.", "Come from Friday.", "the date from friday is new"),
    ("Monday at 2 pm, Friday at 3 pm.", "Friday at 2 pm, Monday at 3 pm.", "the dates stand in another order"),
    ("Come next Friday.", "Come this Friday.", "the date next friday is missing"),
    ("Come tomorrow morning.", "Come tomorrow.", "the date morning is missing"),
    ("Come on 4 May.", "Come on 4 June.", "the date June 4 is new"),
    ("Come on 08/06/1963.", "Come on 06/08/1963.", "the date 06/08/1963 is new"),
    ("It comes in a week.", "It comes in a month.", "the date in a week is missing"),
    ("Monday or Friday is free.", "Monday and Friday are free.", "`and` and `or` are exchanged"),
    # links
    ("See https://x.y/a.", "See our page.", "the link https://x.y/a is missing"),
    ("See https://x.y/a.", "See https://x.y/A.", "the link https://x.y/A is new"),
    ("See shop.it.", "See shop.in.", "the link shop.in is new"),
    ("Ask a.b@example.com.", "Ask ab@example.com.", "the link ab@example.com is new"),
    # names
    ("Hello Ines, it is done.", "Hello, it is done.", "the name Ines is missing"),
    ("It is done.", "It is done, Zoe.", "the name Zoe is new"),
    ("Alexis can help.", "Morgan can help.", "the name Morgan is new"),
    ("ask mia about it", "ask her about it", "the name mia is missing"),
    ("Ask Zoe, then Fred.", "Ask Fred, then Zoe.", "the names stand in another order"),
    ("Go from Airport to Hospital.", "Go to Airport from Hospital.", "from and to are swapped"),
    ("Go to 'craig and center'.", "Go to the centre.", "the name craig is missing"),
    ("Take the BMW.", "Take the car.", "the name BMW is missing"),
    # form
    ("OK.", "", "the rewriting is empty"),
    ("OK.", "so " * 100, "the rewriting is much longer than the original"),
    ("It is done.", "It is \u202edone.", "an invisible character is new (U+202E)"),
    ("It is done.", "It is \x1b[1mdone.", "an invisible character is new (U+001B)"),
    ("It is done.", "ask_name It is done.", "a label is new (ask_name)"),
    ("It is done.", "It is <b>done.", "markup is new (<b)"),
    ("It is done.", "It is [done](x).", "markup is new (]()"),
    ("What day?", "OK.", "a question is missing"),
    ("OK.", "OK. Do you want another one?", "a question is new (do you want another one)"),
]


@pytest.mark.parametrize(("original", "rewritten", "line"), WRONG)
def test_what_is_lost_changed_or_made_up_is_said(original: str, rewritten: str, line: str) -> None:
    lines = broken(original, rewritten, known_names=["Mia"])
    assert any(found.startswith(line) for found in lines), lines


def test_the_customers_name_may_be_new_but_not_get_lost() -> None:
    names = {"Ines", "Ines Duarte"}
    assert broken("It is done.", "Hi Ines Duarte, it is done!", customer_names=names) == []
    assert broken("Fred is here, Ines.", "Hi Ines! Fred is here.", customer_names=names) == []
    assert broken("Hello Ines Duarte.", "Hello Ines.", customer_names=names) == ["the name Duarte is missing"]


def test_few_short_lines_are_given_without_what_cannot_be_seen() -> None:
    names = " ".join(f"Q{a}{b}x\x1b" for a in string.ascii_lowercase for b in "aeiou")
    lines = broken(f"See https://{'x' * 500}.y and {names}", "See it.")
    assert len(lines) == MOST_LINES
    assert all(len(line) <= LONGEST_LINE and line.isprintable() for line in lines)


PIECES = [
    "1,",
    "a_",
    "a.",
    "'",
    "a+",
    "<",
    "5 ",
    "2 - ",
    "no ",
    "a hundred ",
    "May ",
    "?",
    "\u0301",
    "can not ",
    "\ufdfa",
]


@pytest.mark.parametrize("size", [LONGEST_CHECKED, 100_000])
def test_hostile_texts_take_no_long_time(size: int) -> None:
    started = time.process_time()
    for piece in PIECES:
        text = (piece * size)[:size]
        assert broken(text, text) == []
        if size > LONGEST_CHECKED:
            assert broken(text, text[:-1])
    assert (time.process_time() - started) / len(PIECES) < 0.5


texts = st.text(max_size=120) | st.lists(st.sampled_from([*PIECES, "not ", "5pm ", "Friday ", "will ", ", "])).map(
    "".join
)


@given(texts)
@example("")
@settings(max_examples=150)
def test_an_unchanged_text_is_sound(text: str) -> None:
    assert broken(text, text, known_names=[text[:9]], customer_names=[text[9:]]) == []


@given(texts, texts)
@settings(max_examples=150)
def test_any_two_texts_give_lines(original: str, rewritten: str) -> None:
    assert all(broken(original, rewritten, known_names=[original], customer_names=[rewritten]) or [True])


kept = st.one_of(
    st.integers(0, 10**12).map(str),
    st.from_regex(r"https://[a-z]{1,9}\.[a-z]{2,4}/[a-zA-Z0-9]{0,9}", fullmatch=True),
    st.sampled_from("Monday Tue Wednesday thursday Fri Saturday Sunday today tomorrow 5pm 14:30".split()),
    st.sampled_from("not never without nobody hardly".split()),
    st.sampled_from("guaranteed refunded free immediately will might".split()),
)


@given(
    kept, st.sampled_from(["We have it {}.", "The ride is {} for you", "Ask Fred {} there, and pay $7 at 3 pm."]), kept
)
@settings(max_examples=150)
def test_what_is_dropped_put_in_or_exchanged_is_caught(piece: str, template: str, other: str) -> None:
    told, bare = template.format(piece), template.format("")
    assert broken(told, bare) and broken(bare, told)
    assume(piece[:3].casefold() != other[:3].casefold())
    assert broken(told, template.format(other))


DAYS = "Monday Tuesday Wednesday Thursday Friday Saturday Sunday".split()


def mutations(text: str, chance: random.Random) -> list[str]:
    """Return the text with one thing lost, changed or swapped, in several ways."""
    numbers = [match.span() for match in re.finditer(r"\d+", text)]
    days = [match.span() for match in re.finditer("|".join(DAYS), text)]
    nots = [match.span() for match in re.finditer(r" not\b|(?<=\w)n't\b|\bnot ", text)]
    spaces = [match.span() for match in re.finditer(r"(?<=[a-z]) (?=[a-z])", text)]
    changed = [text[:start] + text[end:] for start, end in (*chance.sample(numbers, min(1, len(numbers))), *nots)]
    for start, end in days:
        changed.append(text[:start] + chance.choice([day for day in DAYS if day != text[start:end]]) + text[end:])
    if len(numbers) > 1:
        (a, b), (c, d) = sorted(chance.sample(numbers, 2))
        changed.append(text[:a] + text[c:d] + text[b:c] + text[a:b] + text[d:])
    if spaces:
        start, end = chance.choice(spaces)
        changed.append(f"{text[:start]} not {text[end:]}")
    return [other for other in changed if other != text]


def test_real_replies_are_sound_unchanged_and_every_mutation_is_caught(data: Path) -> None:
    lines = (data / "star.jsonl").read_text().splitlines()
    said = {m["text"] for line in lines for m in json.loads(line)["messages"] if m["role"] == "agent"}
    assert [reply for reply in said if broken(reply, reply)] == []
    chance = random.Random(0)
    pairs = [(reply, changed) for reply in sorted(said)[::2] for changed in mutations(reply, chance)]
    assert [pair for pair in pairs if not broken(*pair)] == []
    assert len(said) > 1000 and len(pairs) > 700
