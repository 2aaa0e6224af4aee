"""Other ways to say a thing in chat English: how a clause may begin, and words in the place of others."""

from understudy.lm.notation import frames, table

FRAMES = frames(r"""
    ? (?:can|could|would|will) (?:you|u) (?:please |kindly )?help(?: me| us)?$|i need (?:some |your )?help$
    I could use {a hand|some help} / {a hand|some help} would be {good|great} /
    I need {a hand|some help} {here|with something}
    ? (?:can|could|would|will) (?:you|u) (?:please |kindly )?help (?:me|us) with (.+)
    I need a hand with \1 / it is about \1, some help needed
    ? (?:can|could|would|will) (?:you|u) (?:please |kindly |just |also |help (?:me|us) (?:to )?)*(?!be\b|do\b)(.+)
    please \1 / any chance you could \1 / I was hoping you might \1 / would it be possible to \1 / kindly \1 /
    it would be {great|good} if you could \1
    ? (?:can|could|may) (i|we) (?:please |just |also )*(?!help)(.+)
    is it possible to \2 / {\1} would like to \2 / would it be alright to \2 / {\1} hope to \2
    ? (i|we)(?:'d|'m| would| am| are)? (?:really |just )*(?:like|love|wanted|want|need|wish|looking|trying) to (.+)
    the plan is to \2 / {\1} hope to \2 / it is time for me to \2 / would it be possible to \2 /
    what {\1} want is to \2 / {\1} had hoped to \2 / my wish is to \2 / {\1} came here to \2
    ? (?:my name is|my name's|this is|i am|i'm) ([A-Z]\w+)$
    \1 is my name / \1 here / {it is|it's} \1 / {call me|I go by} \1 / the name is \1
    ? (?:i|we)(?:'d| would)? (?:really |just |also |still )*(?:like|want|need) ((?:an?|some|another|more) .+)
    I'm after \1 / could I get \1 / I'm on the lookout for \1 / what I need is \1 / {please|kindly} get me \1
    ? (?:i am|i'm|im|we are|we're) (?:looking|searching) for (.+)
    I need \1 / help me find \1 / could you find me \1 / I'm trying to find \1 / what I want is \1
    ? do you (?:guys )?have (.+)
    have you got \1 / I wonder if you have \1 / would you have \1
    ? (is|are) there (an?|any|some|no) (.+)
    I wonder if there {\1} \2 \3 / would you have \2 \3
    ? (?:what is|what's|whats|what are) ((?:the|my|your|a) .+)
    tell me \1 / I'm curious about \1 / I'm asking about \1 / {please|could you} look up \1
    ? (what|where|when|how|which|who) (is|are|was|will|does|do|did|can|much|many|long) (.+)
    {tell me,|one question:|do you know,} \1 \2 \3 / {so,|and} \1 \2 \3
    ? (?:how|what) about (.+)
    {maybe|perhaps} \1 / would \1 {work|do} / and if we try \1
    ? please (.+)
    could you \1 / kindly \1 / would you \1
    ? (?:let's|lets|let us) (.+)
    {I say|how about} we \1 / we could \1 / shall we \1
""")
r"""How a clause begins, and other ways to say it; `{\1}` stays as it was."""

SYNONYMS = table("""
    would like to: want to|wish to|hope to; i'd like: I would love|I want; want to: wish to|hope to;
    need to: have to|must; have to: need to; make a reservation: set up a booking|get a booking done;
    reservation: booking; as soon as possible: very soon|without delay; asap: quickly|very soon;
    i think: I believe|I guess; i guess: I suppose; don't know: have no idea|can't say; don't remember: no longer know;
    do not know: have no idea; do not remember: no longer know; can't remember: no longer know;
    don't have: haven't got; do not have: have not got;
    right now: at the moment|just now; at the moment: for now|just now; tell me: let me know; let me know: tell me;
    what time: when; until: till; till: until; find: locate|look for; find out: learn;
    think about: consider; check: look up|look at; check with: ask; check on: look into;
    check in: check in; check out: look at;
    buy: purchase|get; purchase: buy; maybe: perhaps|possibly; because: since|as; but: though|yet;
    really: truly; very: really; also: as well|besides; think: believe; problem: issue|trouble;
    wrong: not right; big: large;
    nice: lovely|pleasant; great: wonderful|super; good: decent|fine; kids: children; children: kids; near: close to;
    arrive: get there|come in; leaving: setting off|departing; arriving: coming in; start: begin; finish: end;
    cheap: affordable; expensive: pricey|costly; possible: doable; looking for: after|searching for;
    trying to: attempting to|hoping to; a lot: loads|plenty; someone: somebody; somebody: someone; received: got;
    tried: attempted; says: claims|states; said: claimed; again: once more|another time; just: only|simply;
    currently: now|at present; broken: out of order|kaput; doesn't work: is out of order; not working: out of order;
    how about: what about; going to: about to; seems: looks; sounds: seems; yesterday: the other day; quick: speedy
""")
SWAPS = table("""
    and: and also|plus|as well as; but: though; or: or maybe|or perhaps; so: and so|which is why; my: my own;
    a: a certain; an: a certain; the: that|the very; your: your own; it: this; can: could|might; could: might|can;
    will: shall;
    is: would be; for: just for; in: over in; at: over at; with: along with; if: in case|provided; need: want|require;
    want: need; any: any sort of; more: further; please: kindly; was: had been
""")
"""Ways to break a row of words that somebody said; rough, so only where nothing better does."""

ASIDES = ("if possible,", "then,", "I believe,", "I think,", "of course,", "as you know,")
ADVERBS = ("actually", "really", "simply", "now", "certainly")

LONG = table("""
    i'm: I am; i'd: I would; i'll: I will; i've: I have; don't: do not; can't: cannot; it's: it is; that's: that is;
    isn't: is not; won't: will not; didn't: did not; we're: we are; doesn't: does not; you're: you are; what's: what is;
    haven't: have not; let's: let us; wanna: want to; gonna: going to; yeah: yes; yep: yes; nope: no; ok: very well;
    u: you; thx: thank you; hey: hello; guys: colleagues; kids: children; okay: very well; gotta: have to
""")
SHORT = table("""
    want to: wanna; going to: gonna; have to: gotta; please: pls; you: u; yes: yeah; okay: ok; because: cuz;
    thanks: thx; do not: don't; i am: I'm; i would: I'd; it is: it's; i will: I'll; cannot: can't; very: super
""")

AGENT_FRAMES = frames(r"""
    ? (?:may|could|can) i (?:please )?(?:have|get) ((?:your|the|a) [^,.?!]+?)(?:,? please)?[?.]?$
    Now for \1, {if you please|please}. / Would you share \1 with me? / And \1 {would be|is}? /
    May I note \1 {now|here}? / For my {notes|records}: \1, please?
    ? (?:please|c(?:an|ould) you)(?: please)? (?:provide|give|tell)(?: me)?(?: with)? (your [^,.?!]+?)(?:,? please)?.?$
    Now for \1, {if you please|please}. / Would you share \1 with me? / And \1 {would be|is}? /
    May I note \1 {now|here}? / For my {notes|records}: \1, please?
    ? (?:is|was) there anything else .*
    Anything {else|further|more} you {need|wish for} today? / {What else|Which other thing} may I do {now|here}? /
    {Wish for|Care for} {anything else|more help} from me?
    ? (?:thank you|thanks) and (?:goodbye|bye).*
    Thanks for {writing|your time}, {goodbye|bye}. / Goodbye, and thank you {for today|for writing|}. /
    {Many thanks|Thank you}, and a {good|nice} day to you.
    ? (?:hello|hi)[,!.]? (?:how|what) can i (?:help|do).*
    {Welcome|Good day}, what {brings you here|do you need}? / {Hello|Hi} there, what {is it about|can I do}? /
    {Hi|Hello|Greetings}, {how may I|how do I} help?
    ? (?:goodbye|bye|good bye)[.!]?(.*)
    {Take care|Farewell|Until next time}, {goodbye|bye}.\1 / Goodbye {for now|then}.\1 /
    {Bye|Goodbye}, all the best.\1
""")
AGENT_WORDS = table("""
    i am sorry: I'm afraid; i'm sorry: I'm afraid|my apologies; i'm very sorry: I apologise; can you: could you;
    unfortunately: regrettably|sadly; great,: good news,; alright: fine; excellent: wonderful;
    sure: certainly|of course; would you like: do you wish|would you wish; do you want: would you like;
    could you: can you|would you; please provide: next comes|kindly share; successfully: just now; at what: for which;
    is available: can be had|is free; should i: shall I|may I; can i: may I|shall I; may i: might I|could I;
    what day: which day; you can: you may; cannot: can't|am unable to; there is no: we have no|there isn't any;
    there are no: we have no; perfect: very good; however: but; located: to be found; currently: now; require: need
""")
