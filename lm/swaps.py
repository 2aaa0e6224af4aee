"""Words put in the place of others: pairs with their inflections, contractions, prepositions at either end.

The pairs are data; a pair of twins guards its words against a shorter pair. The functions keep casing and articles, and
leave capitalised words inside a sentence alone, for they may be names.
"""

import re
from collections.abc import Callable, Mapping

Change = Callable[[str], str]

_VOWEL = frozenset("aeiou")


def starts_sentence(text: str, at: int) -> bool:
    """Say whether a sentence starts at a place."""
    before = text[max(0, at - 4) : at].rstrip(" ")
    return not before.strip() or before[-1] in ".!?:\n\u2026"


def like(word: str, model: str) -> str:
    """Give a word the casing of the one it stands for."""
    if len(model) > 1 and model.isupper() and model != "OK":
        return word.upper() if len(model) > 2 else word
    return word[0].upper() + word[1:] if model[0].isupper() else word


def swaps(pairs: Mapping[str, str]) -> Change:
    """Return a change that puts the second of each pair for the first; a pair of twins guards its words."""
    found = {" ".join(old.lower().split()): new for old, new in pairs.items()}
    ordered = sorted(found, key=len, reverse=True)
    heads: dict[str, list[str]] = {}
    for old in ordered:
        heads.setdefault(old[0], []).append(re.escape(old[1:]).replace("\\ ", " +"))
    branches = "|".join(f"{re.escape(head)}(?:{'|'.join(rests)})" for head, rests in heads.items())
    pattern = re.compile(r"(?<![\w'\u2019@/.-])(?:(an?) )?" + f"({branches})" + r"(?![\w'\u2019@/-])", re.IGNORECASE)

    def change(text: str) -> str:
        return pattern.sub(lambda match: _swapped(match, found), text)

    return change


def _swapped(match: re.Match[str], found: Mapping[str, str]) -> str:
    article, old = match[1], match[2]
    new = found[" ".join(old.lower().split())]
    named = old[0].isupper() and not old.startswith(("I ", "I'")) and not starts_sentence(match.string, match.start(2))
    if named or new.lower() == old.lower():
        return match[0]
    new = like(new, old)
    if article is None:
        return new
    vowel = "n" if new[0].lower() in _VOWEL else ""
    return f"{article[0]}{vowel} {new}"


def _pairs(table: str) -> dict[str, str]:
    pairs: dict[str, str] = {}
    for line in table.strip().splitlines():
        old, _, new = line.partition("|")
        pairs.update(zip(map(str.strip, old.split(",")), map(str.strip, new.split(",")), strict=True))
    return pairs


SIMPLER = swaps(
    _pairs("""
    purchase, purchased, purchasing | buy, bought, buying
    a purchase, the purchase, your purchase, this purchase | a purchase, the purchase, your purchase, this purchase
    assist, assists, assisted, assisting, assistance | help, helps, helped, helping, help
    require, requires, required, requiring | need, needs, needed, needing
    is required to, are required to | is required to, are required to
    receive, receives, received, receiving | get, gets, got, getting
    have received, has received, been received, be received | have received, has received, been received, be received
    was received, is received, were received | was received, is received, were received
    provide me with, provide us with, provide you with | give me, give us, give you
    provided me with, provided us with | gave me, gave us
    provide me, provide us | give me, give us
    could you provide, can you provide, would you provide | could you give me, can you give me, would you give me
    please provide, you can provide, need you to provide | please give me, you can give me, need you to give me
    could you provide me with, can you provide me with | could you give me, can you give me
    could you provide us with, can you provide us with | could you give us, can you give us
    could you provide me, can you provide me | could you give me, can you give me
    could you please provide, can you please provide | could you please give me, can you please give me
    could you please provide me with, can you please provide me with | could you please give me, can you please give me
    could you please provide me, can you please provide me | could you please give me, can you please give me
    please provide me with, please provide us with | please give me, please give us
    please provide me, please provide us | please give me, please give us
    have provided, has provided, you provided | have given, has given, you gave
    inquire, inquires, inquired, inquiring | ask, asks, asked, asking
    inquiry, inquiries | question, questions
    additional information, additional details | more information, more details
    additional | extra
    commence, commences, commenced, commencing | start, starts, started, starting
    terminate, terminates, terminated, terminating | end, ends, ended, ending
    sufficient, numerous, a sufficient | enough, many, a sufficient
    utilize, utilizes, utilized, utilizing | use, uses, used, using
    utilise, utilises, utilised, utilising | use, uses, used, using
    obtain, obtains, obtained, obtaining | get, gets, got, getting
    regarding, with regard to | about, about
    in order to, prior to, subsequent to | to, before, after
    in the event that | if
    at this time, at this moment, at the present time | right now, right now, right now
    available at this time, free at this time | available at this time, free at this time
    departing from, depart from | leaving from, leave from
    can i proceed, shall i proceed, should i proceed | can I go ahead, shall I go ahead, should I go ahead
    inform you that, inform you of, inform you about | tell you that, tell you about, tell you about
    notify you, notify us | tell you, tell us
    attempt to, attempted to, attempting to | try to, tried to, trying to
    ensure that, ensure | make sure that, make sure
    select, selects, selected, selecting | choose, chooses, chosen, choosing
    you selected, i selected, we selected | you chose, I chose, we chose
    locate, locating | find, finding
    verify, verifies, verified, verifying | check, checks, checked, checking
    modify, modifies, modified, modifying | change, changes, changed, changing
    retrieve, retrieving | get, getting
    ascertain, indicate, reside | find out, show, live
    discontinue, discontinued | stop, stopped
    initiate, initiated | start, started
    residence, individuals | home, people
    continue playing, continue shopping, continue searching | keep playing, keep shopping, keep searching
    """)
)

RICHER = swaps(
    _pairs("""
    buy, buys, bought, buying | purchase, purchases, purchased, purchasing
    how can i help you, how may i help you | how can I assist you, how may I assist you
    how can i help, how may i help | how can I assist you, how may I assist you
    help you with, help you further | assist you with, assist you further
    need help, needs help | require assistance, requires assistance
    need, needs, needed | require, requires, required
    need to, needs to, needed to, need not | need to, needs to, needed to, need not
    no need, the need, a need, your needs | no need, the need, a need, your needs
    in need, if needed, as needed | in need, if needed, as needed
    we need you, i need you | we need you, I need you
    give me, give us | provide me with, provide us with
    give me a | give me a
    ask about, asked about | inquire about, inquired about
    more information, more details | additional information, additional details
    any more information, any more details | any additional information, any additional details
    any more hotels, any more flights | any further hotels, any further flights
    any more options, any more questions | any further options, any further questions
    anything else | anything further
    enough information, enough funds | sufficient information, sufficient funds
    let you know | inform you
    make sure that, make sure you, make sure your | ensure that, ensure that you, ensure that your
    question about, questions about | question regarding, questions regarding
    information about | information regarding
    details about | details regarding
    like to start, ready to start, want to start | like to begin, ready to begin, want to begin
    before your flight, before your appointment | prior to your flight, prior to your appointment
    before your arrival, before your stay | prior to your arrival, prior to your stay
    look for, looking for | search for, searching for
    can i go ahead, shall i go ahead, should i go ahead | can I proceed, shall I proceed, should I proceed
    leaving from, leave from | departing from, depart from
    get in touch with | contact
    choose a, choose the, choose your, choose one | select a, select the, select your, select one
    find out | determine
    tell you that | inform you that
    """)
)

BRIEFER = swaps(
    _pairs("""
    anything else that i can, anything that i can | anything else I can, anything I can
    been successfully, successfully been, is successfully | been, been, is
    all of your, all of the | all your, all the
    whether or not | whether
    as well please | too please
    in order to, at this moment in time | to, now
    """)
)

FORMAL_WORDS = swaps(
    _pairs("""
    thanks for, thanks | thank you for, thank you
    thanks a lot, thanks so much | thank you very much, thank you very much
    many thanks, thanks to | many thanks, thanks to
    bye, bye-bye | goodbye, goodbye
    bye bye | goodbye
    gonna, wanna, gimme, lemme | going to, wish to, give me, let me
    yeah, yep, yup, nope, nah | yes, yes, yes, no, no
    pls, plz, thx, u, ur | please, please, thank you, you, your
    could i get, can i get, may i get | could I have, can I have, may I have
    great job | well done
    hang on, hold on, please hold on | please wait, please wait, please wait
    do you want to, if you want to | do you wish to, if you wish to
    it looks like the, it looks like there | it appears that the, it appears that there
    thats, whats, im, ive | that is, what is, I am, I have
    dont, didnt, doesnt, isnt, arent | do not, did not, does not, is not, are not
    """)
)

CASUAL_WORDS = swaps(
    _pairs("""
    thank you very much, thank you so much, thank you for, thank you | thanks a lot, thanks so much, thanks for, thanks
    to thank you, i thank you, we thank you, would thank you | to thank you, I thank you, we thank you, would thank you
    goodbye, good bye | bye, bye
    could you please, can you please, would you please | could you, can you, would you
    i apologize, we apologize, i apologise, we apologise | I'm sorry, we're sorry, I'm sorry, we're sorry
    my apologies | sorry
    additionally, furthermore | also, also
    therefore, thus | so, so
    the inconvenience, any inconvenience | the trouble, any trouble
    do you wish to, if you wish to | do you want to, if you want to
    it appears that | it looks like
    """)
)

_NOT = "is are was were do does did have has had can could should would will".split()
_PRONOUN = "I|you|we|it|they|he|she|there|that|this"
_CONTRACTED = re.compile(
    r"(?<![\w'\u2019])(?:"
    rf"(?P<verb>is|are|was|were|do|does|did|have|has|had|ca|could|should|would|wo)n['\u2019]t(?! (?:{_PRONOUN})\b)"
    r"|(?P<i>I)['\u2019]m|(?P<are>you|we|they)['\u2019]re|(?P<have>I|you|we|they)['\u2019]ve"
    r"|(?P<will>I|you|we|they|it|he|she|that|there)['\u2019]ll"
    r"|(?P<has>it|that|there|he|she)['\u2019]s(?= been\b)|let['\u2019](?P<us>s)"
    r"|(?P<is>it|that|there|what|where|who|here|he|she)['\u2019]s(?! \w+ed\b| got\b| been\b)"
    r")(?![\w'\u2019])",
    re.IGNORECASE,
)
_WRITTEN_OUT = {"i": " am", "are": " are", "have": " have", "will": " will", "has": " has", "is": " is"}


def expand(text: str) -> str:
    """Write contractions out, the negation with them; questions such as "don't you" stay."""
    return _CONTRACTED.sub(_expanded, text)


def _expanded(match: re.Match[str]) -> str:
    kind = match.lastgroup or ""
    stem = match[kind]
    if len(stem) > 1 and stem.isupper():
        return match[0]
    if kind == "verb":
        whole = {"ca": "cannot", "wo": "will not"}.get(stem.lower(), f"{stem.lower()} not")
        return like(whole, stem)
    if kind == "us":
        return like("let us", match[0])
    return stem + _WRITTEN_OUT[kind]


_LONG = re.compile(
    r"(?<![\w'\u2019-])(?:"
    rf"(?P<no>{'|'.join(_NOT)}) ?not(?! only\b)"
    r"|(?P<am>I) am(?= \w)|(?P<are>you|we|they) are(?= \w)|(?P<will>I|you|we|they|it) will(?= \w)"
    r"|(?P<have>I|you|we|they) have"
    r"(?= (?:(?:successfully|already|now|just) )?(?!limited|unlimited|detailed|dedicated)"
    r"(?:[a-z]+ed|found|made|sent|taken|done|been|given)\b)"
    r"|(?P<is>it|that|there|what|where|who|here|he|she) is(?= \w)(?! it\b)"
    r")(?![\w'\u2019])",
    re.IGNORECASE,
)
_SHORT = {"am": "m", "are": "re", "will": "ll", "have": "ve", "is": "s"}
_ASKED_BEFORE = re.compile(
    r"\b(?:(?:how|what|where|which|who|whom|than|as|whatever)\b[^.,!?]*|(?:do|does|did|can|could|would|should|may) )$",
    re.IGNORECASE,
)


def contract(text: str) -> str:
    """Contract verbs, in the reply's own kind of apostrophe; a stressed NOT and a closing "where you are" stay."""
    mark = "\u2019" if "\u2019" in text else "'"
    return _LONG.sub(lambda match: _contracted(match, mark), text)


def _contracted(match: re.Match[str], mark: str) -> str:
    kind = match.lastgroup or ""
    stem, whole = match[kind], match[0]
    if whole[-1].isupper() or (whole[0].isupper() and stem != "I" and not starts_sentence(match.string, match.start())):
        return whole
    if kind == "no":
        return {"can": stem[:2] + "n", "will": stem[0] + "on"}.get(stem.lower(), stem + "n") + f"{mark}t"
    if _ASKED_BEFORE.search(match.string[max(0, match.start() - 40) : match.start()]):
        return whole
    return f"{stem}{mark}{_SHORT[kind]}"


_AUX = "do|does|did|is|are|was|were|will|would|should|can|could|may|shall|have|has"
_FRONTED = re.compile(
    rf"(?<![^\s])(For|At|On|In|From|To|With) ((?:what|which|how many)(?: (?!(?:{_AUX})\b)[\w-]+){{1,3}}) "
    rf"((?:{_AUX}) [\w' -]{{3,80}})\?"
)


def strand(text: str) -> str:
    """Move a preposition to the end: "For what time is it?" becomes "What time is it for?"."""
    return _FRONTED.sub(_stranded, text)


def _stranded(match: re.Match[str]) -> str:
    preposition, asked, rest = match.groups()
    if re.search(rf"\b{preposition}\b", rest, re.IGNORECASE):
        return match[0]
    return f"{asked[0].upper()}{asked[1:]} {rest} {preposition.lower()}?"
