"""Tell whether a customer's message gives orders to the model instead of talking to the agent.

It looks for phrases that people say to a language model: to drop its instructions, to answer in one way from now on, to
be something else. A customer who wants something of the agent ("always use the side door", "forget it") says none.
English; of German, French, Spanish, Italian, Portuguese and Dutch the two commonest orders: to forget the instructions,
and to answer always in one way.
"""

import re
from collections.abc import Iterator

_SAY = (
    "answer|respond|reply|output|say|write|print|return|predict|classify|label|choose|pick|rate|score|report|mark|set"
)
_TELL = r"(?:answer(?! (?:my|the|me|your|this|that|for))|respond|output|print|predict|classify|label)"
_WRITE = r"(?:write|put|add|insert|include|update|change|rewrite)"
_MUST = r"(?:must|shall|should|will|need to|have to|are to|are required to)"
_UNIT = r"(?:messages?|conversations?|customers?|questions?|inputs?|turns?|cases?|requests?)"
_RULES = r"(?:instruct\w*|prompts?|rules|guidelines|directives?|programming|training|system message|orders)"
_MODEL = r"(?:ai|a i|llm|language model|model|chatbot|assistant|bot|classifier|evaluator|grader|optimi[sz]er|teacher)"
_JUDGE = r"(?:ai|llm|language model|model|classifier|evaluator|grader|optimi[sz]er)"
_ABOVE = r"(?:above|before|previous|prior|earlier)"
_FORMER = r"(?:(?:any|of|the) )*(?:(?:your|these|those|all|previous|prior|above|earlier|system) (?:of |the )*)+"
_FIELD = r"(?:confidence|intent|conflict type|next step|user satisfaction|quality score|main goal|labels?|tone)"

_ORDERS = [
    rf"(?:ignore|disregard|override|bypass) (?:\w+ ){{0,4}}?{_FORMER}(?:\w+ )?{_RULES}",
    rf"(?:ignore|disregard|override|bypass) the (?:\w+ )?{_RULES}",
    rf"(?:forget|overlook|drop|break) {_FORMER}(?:\w+ )?{_RULES}",
    rf"(?:ignore|disregard) (?:(?:all|everything|anything|what is|the|whatever) )+(?:\w+ ){{0,2}}?{_ABOVE}",
    r"forget (?:everything|all|anything) (?:\w+ ){0,3}?(?:told|trained|learned|instructed|above|before)",
    rf"(?:from|starting) (?:now|here)(?: on(?:wards?)?)? (?:you|always|never|only|every|all|{_SAY})",
    rf"you {_MUST} (?:now )?(?:(?:only |always |never )(?:{_SAY})|{_TELL}|obey|comply|pretend|ignore|disregard)\b",
    r"i (?:order|command|instruct) you to",
    r"your (?:new|only|real|true|next) (?:task|job|role|goal|purpose|instructions?) (?:is|are)\b",
    rf"(?:do not|dont|stop|never) (?:follow|following|obey|obeying) {_FORMER}(?:\w+ )?{_RULES}",
    rf"(?:for|to|on) (?:every|each|all|any) (?:\w+ )?{_UNIT} (?:{_SAY})\b",
    rf"(?:whenever|every time|if) you (?:see|read) (?:\w+ ){{1,6}}?(?:{_SAY})\b",
    rf"(?:{_SAY}) (?:\w+ ){{0,2}}?(?:for|to|in|on|as|with) (?:every|each|all|any) (?:\w+ )?{_UNIT}",
    r"(?:classify|label|rate|score) (?:this|it|me|my)\b(?: \w+){0,3}? (?:as|with)\b",
    rf"(?:{_SAY}|tag|treat|count) (?:everything|every|all|each|any)\b(?: \w+){{0,3}}? (?:as|with)\b",
    rf"(?:set|raise|put|make) (?:the |your |my |its )?{_FIELD} (?:to|as)\b",
    rf"as an? (?:{_MODEL})\b",
    r"you are now (?:an?|the|in|dan)\b",
    r"pretend (?:you|to be)\b",
    r"(?:pretend|imagine|act|behave|roleplay|role play) (?:as|like|that|to be) (?:if )?(?:you|an?|the)\b",
    rf"(?:new|updated|real|hidden|secret|additional|further|following) {_RULES} (?:for|to) (?:you|the|any|every)\b",
    rf"(?:follow|obey|execute) (?:these|this|my|the following|only) (?:\w+ )?(?:{_RULES}|commands?)",
    rf"(?:reveal|print|repeat|output|show|leak|quote|copy) (?:\w+ ){{0,3}}?(?:your|system|hidden) (?:\w+ )?{_RULES}",
    r"(?:system prompt|developer mode|jailbreak|prompt injection)",
    rf"(?:note|message|attention|instructions?) (?:to |for )?(?:the |any |every |all )?{_JUDGE}\b",
    r"(?:dear|hey|hello) (?:llm|language model|classifier|evaluator|grader|optimi[sz]er)\b",
    rf"{_WRITE} (?:\w+ ){{0,6}}?(?:the|your|this) (?:new )?(?:instruction\b|prompt)",
    rf"{_WRITE} (?:\w+ ){{0,2}}?your instructions",
    r"(?:correct|right|true) (?:label|intent|class|score|output) (?:is|for|must|should)\b",
    r"(?:remember|memori[sz]e|learn) (?:\w+ )?for (?:all|every|each|any|later|future)\b",
    rf"(?:repeat|print|output) (?:\w+ ){{0,2}}?(?:words|text|everything|all|messages?) {_ABOVE}",
    r"(?:ignorier|vergiss|vergess|missacht)\w* (?:\w+ ){0,4}?(?:anweisung|regel|vorgabe|instruktion)\w*",
    r"(?:ab jetzt|ab sofort) (?:antwort|sag|schreib)\w*|antworte\w* (?:sie )?(?:immer|nur|stets|ausschliesslich)\b",
    r"(?:ignore|oublie)\w* (?:\w+ )?(?:les|tes|vos|ces) (?:\w+ ){0,2}?(?:instruction|consigne|regle)s",
    r"(?:ignor|olvid)\w* (?:\w+ )?(?:las|tus|sus|estas) (?:\w+ ){0,2}?(?:instruccione|regla|indicacione)s",
    r"(?:ignor|dimentic)\w* (?:\w+ )?(?:le|tue|queste) (?:\w+ ){0,2}?(?:istruzioni|regole)",
    r"(?:ignor|esque)\w* (?:\w+ )?(?:as|suas|tuas|estas) (?:\w+ ){0,2}?(?:instrucoes|regras)",
    r"(?:negeer|vergeet) (?:\w+ ){0,3}?(?:instructies|regels|aanwijzingen)",
    r"(?:repond|respond|rispond)(?:s|ez|e|a|i|ete)? (?:toujours|uniquement|siempre|solo|sempre|apenas)\b",
    r"antwoord (?:altijd|alleen)\b",
    rf"(?:the|any|every|next|this) {_JUDGE} (?:must|should|shall|will|has to|needs to|is to)",
]
_ORDER = re.compile(rf"\b(?:{'|'.join(_ORDERS)})")

_ROLE = re.compile(
    r"(?:^|\n|[.!?]\s)\W{0,6}(?:system|assistant|developer)(?: prompt| message)?\W{0,3}[:>\]]"
    r"|<\|?\/?(?:im_start|system|assistant|inst)\b|\[/?(?:INST|SYSTEM)\]|<<SYS>>",
    re.IGNORECASE,
)

_BARE = re.compile(rf"(?:^|\b(?:please|and|then|now|must|should|so|also|but) )(?:always|only|never) (?:{_SAY})\b")
"""An order that names nobody; it begins a sentence or follows such a word, since `they always say` is none."""


_RUN_ON = re.compile(r"(?<=[a-z])(?=[A-Z])")
_SPELT = re.compile(r"(?<!\w)\w([ ._*-])\w(?:\1\w)+(?!\w)")
_MIXED = re.compile(r"\b(?=\w*[a-z])(?=\w*\d)\w+", re.IGNORECASE)
_DIGITS = str.maketrans("013457", "oieast")


def readings(plain: str) -> Iterator[str]:
    """Give a message as written, and as one reads it whose words are run together, spelt out or mixed with digits.

    Words that are spelt out letter by letter are told apart by a wider gap.
    """
    yield plain
    parted = _SPELT.sub(lambda letters: re.sub("[ ._*-]", "", letters[0]), _RUN_ON.sub(" ", plain))
    undone = _MIXED.sub(lambda word: word[0].translate(_DIGITS), parted)
    if undone != plain:
        yield undone


def order_at(sentences: list[list[str]], plain: str) -> int | None:
    """Return the word of a message at which an order to the model begins, or None.

    `plain` is the message as written, folded; `sentences` are its words in small letters. A role's mark makes the whole
    of it an order.
    """
    if _ROLE.search(plain):
        return 0
    starts, before = [], 0
    for words in sentences:
        line = " ".join(words)
        starts += [before + line[: order.start()].count(" ") for order in _BARE.finditer(line)]
        before += len(words)
    line = " ".join(word for words in sentences for word in words)
    starts += [line[: order.start()].count(" ") for order in _ORDER.finditer(line)]
    return min(starts, default=None)
