"""What a reply is looked at with: cues, openers, emoji, and the parts that no operation may touch."""

import re

from understudy.lm.register import EMOJI, EMOTICON
from understudy.lm.words import STOP_WORDS

# What no operation may look into: code, quotes, tags, addresses, abbreviations, all with a digit, bold.
PROTECTED = re.compile(
    r"```[\s\S]{0,2000}?```|`[^`\n]{1,300}`|\*\*[^*\n]{1,200}\*\*"
    r"|\"[^\"\n]{1,300}\"|\u201c[^\u201d\n]{1,300}\u201d|\u00ab[^\u00bb\n]{1,300}\u00bb"
    r"|(?<!\w)['\u2018][^'\u2018\u2019\n]{1,200}['\u2019](?!\w)"
    r"|\[[^\]\n]{1,80}\]|\{[^}\n]{1,80}\}|<[^>\n]{1,80}>"
    r"|\bhttps?://\S{0,500}[^\s.,;!?:)]|\bwww\.\S{0,500}[^\s.,;!?:)]|[\w.+-]{1,64}@[\w.-]{0,100}\w|@\w+"
    r"|\b(?:Dr|Mr|Mrs|Ms|Prof|vs|etc|e\.g|i\.e|a\.m|p\.m|approx)\."
    r"|[^\s,;!?()]{0,40}\d(?:\S{0,60}[^\s.,;!?:)\"'])?"
    r"|\b[A-Za-z]{1,30}[a-z][A-Z]\w{0,30}|\b\w{1,30}/\S{0,60}\w|\b[^\W_]\w{0,30}_\w{1,60}"
)

FORMAL_OPENERS = {
    "hi": "Hello",
    "hey": "Hello",
    "hiya": "Hello",
    "ok": "Very well",
    "okay": "Very well",
    "alright": "Very well",
    "all right": "Very well",
    "right": "Very well",
    "sure": "Certainly",
    "sure thing": "Certainly",
    "cool": "Excellent",
    "awesome": "Excellent",
    "great": "Excellent",
    "fantastic": "Excellent",
    "sorry": "I am sorry",
}
CASUAL_OPENERS = {
    "hello": "Hi",
    "good day": "Hi",
    "greetings": "Hi",
    "certainly": "Sure",
    "of course": "Sure",
    "very well": "OK",
    "i am sorry": "Sorry",
    "i'm sorry": "Sorry",
}
FORMAL_OPENER = re.compile(
    r"(hi|hey|hiya|okay|ok|alright|all right|right|sure thing|sure|cool|awesome|great|fantastic|"
    r"sorry)(?: there)?(?=[,.!])",
    re.I,
)
CASUAL_OPENER = re.compile(
    r"(hello|good day|greetings|certainly|of course|very well|i am sorry|i['\u2019]m sorry)(?=[,.!]| and welcome)", re.I
)

LOWERABLE = STOP_WORDS - frozenset("i id ill im ive".split()) | frozenset(
    """please unfortunately however currently thank thanks sorry welcome happy glad nice also sadly good yes
    enter click press turn walk drive take go check have any another""".split()
)
MAYBE_NAMES = frozenset("will may an so do".split())

NEGATIVE = re.compile(
    r"\b(?:sorry|unfortunately|unable|fail(?:ed|s|ure)?|cannot|unsuccessful|sadly|not|no|never|error|wrong|problem|"
    r"unavailable|declined|denied|fraud\w*|cancel+ed|apolog\w+|incorrect)\b|n['\u2019]t\b",
    re.IGNORECASE,
)
POSITIVE = re.compile(
    r"\b(?:great|booked|confirmed|reserved|submitted|scheduled|done|welcome|enjoy|happy|glad|congratulations|"
    r"success\w*|thank you|thanks|perfect|wonderful|fantastic|good luck|correct|unlocked|excellent|pleasure|"
    r"have a (?:nice|good|great|lovely)|accepted|approved)\b",
    re.IGNORECASE,
)
GRAVE = re.compile(
    r"\b(?:fraud\w*|medicine|medical|symptoms?|hospital|die[ds]?|death|funeral|emergency|police|legal\w*|lawsuit|"
    r"overdue|debts?|prison|killed|murder|attack|explosions?|injur\w+|pain|stolen|accident|cancer|victim)\b",
    re.IGNORECASE,
)
COMPLAINT = re.compile(
    r"\b(?:ridiculous|unacceptable|outrageous|frustrat(?:ed|ing)|fed up|sick of (?:this|waiting)|tired of waiting|"
    r"(?:this|that|it|you|service)(?:['\u2019]s| is| are|['\u2019]re|s)? (?:so |really |just |very )?"
    r"(?:annoying|terrible|awful|horrible|useless|the worst)|i(?:['\u2019]m| am) (?:so |very |really )?"
    r"(?:annoyed|angry|upset|disappointed|unhappy)|(?:i want to|have to|must) complain|(?:a|my) complaint|"
    r"(?:third|fourth) time|still (?:not|no|waiting|haven['\u2019]?t|hasn['\u2019]?t)|waste of (?:my )?time|"
    r"waiting for (?:hours|days|weeks|ages)|wtf|what the hell|"
    r"(?<!if that )(?<!if it )(?:isn['\u2019]?t|doesn['\u2019]?t|not|never) work(?:s|ing)?(?! for me))\b",
    re.IGNORECASE,
)
HURRY = re.compile(
    r"\b(?:asap|urgent(?:ly)?|hurry|hurrying|quickly|right away|immediately|emergency|as soon as possible|"
    r"running late|in a rush|no time|time is short)\b",
    re.IGNORECASE,
)
LOST = re.compile(
    r"\?|\b(?:don['\u2019]?t|do not|can['\u2019]?t|cannot|no|not|forgot\w*|lost|never|wrong|nothing|bye|goodbye)\b",
    re.IGNORECASE,
)
FILLERS = re.compile(
    r"(?<=\bI) just(?= (?:need|want)\b)|(?<=you) just(?= (?:need|confirm|check|tell|give|let)\b)"
    r"|(?<=et me) just\b| (?:actually|basically)(?= \w)| at this moment(?=[.?!])"
    r"|(?<!available)(?<!free)(?<!open) at this time(?=[.?!])"
    r"|(?<![^.!?] )(?<!\w)(?:Please note that|Actually,|Basically,) (?P<next>\w)"
)

_HAND, _CHECK = "\N{WAVING HAND SIGN}", "\N{WHITE HEAVY CHECK MARK}"
_SMILE, _GRIN = "\N{SLIGHTLY SMILING FACE}", "\N{SMILING FACE WITH SMILING EYES}"
EMOJI_FOR = tuple(
    (re.compile(pattern, re.IGNORECASE), emoji)
    for pattern, emoji in (
        (r"\b(?:sorry|unfortunately|apolog\w+)\b", "\N{PERSON WITH FOLDED HANDS}"),
        (r"^(?:hi|hello|hey|good (?:day|morning|afternoon|evening)|welcome)\b|\b(?:good)?bye\b", _HAND),
        (r"\bthank(?:s| you)\b|\bwelcome\b|\benjoy\b|\bhave a\b|\bhappy to\b", _GRIN),
        (r"\bcorrect\b|\bcongratulations\b|\bparty\b|\brsvp\b|\bgreat job\b|\bwell done\b", "\N{PARTY POPPER}"),
        (r"\b(?:booked|confirmed|reserved|submitted|scheduled|done|completed|unlocked)\b", _CHECK),
        (r"\b(?:(?:what|which) day|date|when|appointment|schedule|meeting|calendar)\b", "\N{CALENDAR}"),
        (r"\b(?:flight|plane|airline)s?\b", "\N{AIRPLANE}\ufe0f"),
        (r"\b(?:ride|taxi|driver|driving|drive)\b", "\N{AUTOMOBILE}"),
        (r"\b(?:hotel|room)s?\b", "\N{HOTEL}"),
        (r"\b(?:restaurant|table|dinner|lunch)\b", "\N{FORK AND KNIFE WITH PLATE}\ufe0f"),
        (r"", _SMILE),
    )
)
_RUN = rf"(?:{EMOJI}|{EMOTICON})(?:[ \t]*(?:{EMOJI}|{EMOTICON}))*"
# An emoji inside a sentence may be what the sentence is about; only those at its ends go.
AWAY = re.compile(
    rf"(?:\A|(?<=\n)){_RUN}[ \t]*|(?<=[.!?,])[ \t]*{_RUN}(?=\s|\Z)|(?<![ \t])[ \t]*{_RUN}[ \t]*(?=\Z|[\n.!?,])"
)
