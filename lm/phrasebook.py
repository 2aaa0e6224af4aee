"""The dreamer's phrase book: what customers and agents say in which mood and register, names, and the calendar.

`understudy.lm.notation` tells how a template reads.
"""

from understudy.lm.notation import frames, ways

CONFLICTS = {
    "frustration": ways("""
        {honestly|seriously}, this is {ridiculous|unacceptable|awful|unbelievable} /
        {now|today} is the third time {I bring this up|for me here|I have to ask} /
        I already told {you|somebody|one of you} {twice|all of that|everything} /
        {by now|really,} I am {fed up|not happy|getting angry|disappointed} /
        nobody {answers|helps|listens} {at all|around here|any more} /
        still waiting {for <thing>|here|for a proper answer}, {by the way|hello|you know} /
        how hard can {it|this|<thing>} be? / {such|this is} a waste of my {morning|evening|lunch break} /
        this is {simply|just} not good enough"""),
    "confusion": ways("""
        sorry, what {do you mean|is that} {there|exactly|by that}? /
        {I think|now} I don't understand {<thing>|how this works|the last bit} /
        I'm {a bit|quite|rather} confused {now|here|about <thing>} / that makes no sense {to me|so far|yet} /
        huh, I thought {that was settled|it went differently|this was done} /
        {I'm|now I'm} not sure what {comes next|you need from me|to do here} / I don't get it {yet|at all|so far}"""),
    "bargaining": ways("""
        is {any|some|a small} discount {possible|in it} {here|for me|on <thing>}? /
        {is anything|have you something} cheaper {around|on your list|to be had}? /
        that {sounds|is} too expensive {for me|to be fair|for my purse} /
        what is {your|the} best price {then|for <thing>|if I pay at once}? /
        {my neighbour|a colleague|my cousin} got it cheaper elsewhere /
        could you knock off {ten percent|a little|some of it}? /
        throw in {a little extra|something nice} and {we have a deal|I'm in}"""),
    "off_topic": ways("""
        {this is|totally} off topic, but {did you see the football|do you like soup|how is your day over there}? /
        guess what, my {cat|dog|niece} {learned a trick|ate my lunch|turned three} {today|this morning} /
        {while we are at it|unrelated}, what is your favourite {film|song|colour|dish}? /
        {tell me|say}, is the weather kind {to you|at your end}? /
        unrelated, {but|though} {my garden|our kitchen|the new bike} {looks wonderful|is finally done}"""),
    "cancellation": ways("""
        {please|you can} cancel {it|all of it|<thing>} {then|for me|right away} /
        forget it, {I changed my mind|that was it for me|no need any more} / {let us|I would rather} call it off /
        {then|in that case} I will {go|try} elsewhere / never mind {then|about <thing>}, {I'm done|leave it}"""),
}

MOODS = {
    "hurried": ways("""
        {bit of a|I'm in a} rush {here|today|right now} / {quick please|make it quick|short on time here} /
        as fast as {possible|you can}, {my bus leaves soon|I have two minutes|the meter is running} /
        {no time to lose|clock is ticking}"""),
    "friendly": ways("""
        hope {your shift|the day} goes well / {you are a star|lovely of you|much appreciated} /
        {no stress at all|take the time you need} / {nice chatting with you|you folks are kind}"""),
}
CALM = frozenset(["calm", "none", "neutral", "", *MOODS])

CUES = tuple(
    " ".join(
        """ridiculous, unacceptable, third time, second time, fourth time, not happy, disappointed, waste, seriously,
        fed up, useless, angry, still waiting, already told, nobody, not good enough, how hard, unbelievable, excuse me,
        sick of, rude, the hell, awful, worse, terrible, stupid, annoying, don't understand, do not understand,
        what do you mean, confused, not sure what, makes no sense, make no sense, don't get it, you mean, what is that,
        huh, I thought, sorry what, discount, cheaper, too expensive, lower price, better price, knock off, best price,
        throw in, cash, meet me, do it for, off topic, while we are at it, unrelated, the weather, favourite, favorite,
        football, guess what, cancel, elsewhere, somewhere else, forget it, never mind, call it off, leave it""".split()
    ).split(", ")
)
"""What tells a conflict; the customer of a calm beat says none of it."""

GREETINGS = {
    "formal": ways("Good {morning|afternoon|evening|day}. / Hello and good {morning|day}. / Dear team,"),
    "casual": ways("hey! / hiya, / heya, / hey there, / yo,"),
    "plain": ways("Hello. / Hi. / Hi there. / Hello again. / Hey!"),
}
THANKS = {
    "formal": ways("many thanks {for that|indeed|} / thank you {kindly|ever so much} / I am obliged to you"),
    "casual": ways("thx {a bunch|tons|} / cheers / ta {very much|} / thanks {loads|tons|}"),
    "plain": ways("thanks {a lot|again|very much|} / thank you {again|} / that {helps|helped} a lot"),
}
BYES = {
    "formal": ways("I wish you a pleasant {day|evening|week} / goodbye {for now|} / until next time"),
    "casual": ways("{see ya|bye bye|laters|take care} / bye {then|now|}"),
    "plain": ways("bye {for now|then|} / goodbye {then|now|} / take care / have a {nice|good} one"),
}
HELP = ways("{somebody|anyone} around to help? / {got|is there} a minute for me? / I come with a {question|request}")
NO = ways("{no|nope}, {not this time|rather not|I would say not} / not {really|this time|now}")
FINE = ways("{okay|alright|fine|good}, {got it|noted|understood|that works} / good to know / {great|super|lovely}")
LOST = ways("{too bad|a pity|oh well}, {then not today|so it did not work out} / sad, then I keep {looking|searching}")
QUIET = ways("let me {sleep on it|think it over} / {one moment|hang on}, {the door rings|my phone rings} / hm")
OPEN = ways("{any|either one} is fine {by me|} / {whatever|what} you {suggest|recommend} / no preference {there|}")

ANSWERS = frames(r"""
    ? anything (?:else|more|further)|something else|more help|further help
    {no|nope}, {nothing more|that was all|all done|I have what I need} / that {was|would be} everything {for now|}
    ? how many|party size|number of (?:guests|people|rooms|bedrooms|questions)|what question
    {make it|we are|say} <count> / <count> {in total|I'd say|all together}
    ? \bname\b|\bwho (?:am|are|is)
    <name> / {it is|I'm|call me} <name> / <name> {is the name|here}
    ? e-?mail
    the {mail address|e-mail} you have on file / same e-mail as {always|before}
    ? phone|contact|reach you
    my number ends in <number> / the phone on file, ending in <number>
    ? \b(?:pin|code|number|id|reference|account|vin|plate)\b
    {it is|that is|here:} <number> / <number> {it says here|on my paper} / the {last|first} digits are <number>
    ? birth
    {born on|it is} <date> / <date> {is my birthday|it was}
    ? what time|which hour|\bhour\b|\btime\b|arriv.* party
    {around|make it|about} <time> / <time> {suits me|works|would do}
    ? \bwhen\b|\bdays?\b|\bdate
    {on|how about|make it} <day> / <day> {suits me|works|is best}
    ? \bwhere\b|location|destination|departure|starts?\b.*trip|trip starts|address|place|venue
    {from|at|near} <place> / {say|that would be} <place>
    ? budget|how much|afford|price
    up to <count> hundred or so / around <count> hundred, {roughly|not more}
    ? detail|describe|symptom|fraud report|\brequest
    it is {all|mainly} about <thing> / mostly <thing>, {I think|nothing more}
    ? (?:^|[.,!] )(?:do|would|should|shall|can|may|have|are|is|could)\b|confirm|ask if|offer|whether|, right
    {yes|yep|yeah|sure}, {go ahead|do that|that works|please do|sounds right} / {right|correct}, {go on|do it}
""")
"""What an agent's message asks for (its text, action and meaning), and how a customer answers."""
DONE, YES = ANSWERS[0][1], ANSWERS[-1][1]

PLACES = ways("the station / the harbour / the market hall / the old mill / the town hall / the museum / the riverside")
NAMES = tuple("Ilse Bram Tamsin Corin Maren Jory Anouk Leif Petra Osric Fenna Torin Ylva Merrick Sunniva Edda".split())
FIRST_NAMES = frozenset(
    """adam alex alexa alexander alexis alice amy andrea andrew andy angela anna anne anthony ben benjamin bob brian
    carol charles charlie chris christian cindy claire dan daniel dave david deborah diana donna ed edward elizabeth
    emily emma eric erica frank fred gary george greg hannah harry heather helen henry jack jacob james jane jason jeff
    jennifer jenny jessica jim joe john johnny jonathan joseph josh julia julie justin karen kate katie kelly ken kevin
    kim kyle larry laura lauren linda lisa lucas lucy luke margaret maria mark martin mary matt matthew megan melissa
    michael michelle mike nancy nathan nick nicole nina noah oliver pam patricia patrick paul peter phil rachel rebecca
    richard rick rob robert roger ron ryan sam samantha sandra sara sarah scott sean simon sophia stephanie steve steven
    sue susan thomas tim tina todd tom tony tyler victoria walter wendy will william zoe johnson smith brown jones
    miller davis wilson morgan""".split()
)
DAYS = tuple("monday tuesday wednesday thursday friday saturday sunday".split())
MONTHS = tuple("january february march april may june july august september october november december".split())
PARTS = ("morning", "afternoon", "evening")
COUNTS = tuple("two three four five six seven eight nine ten eleven twelve".split())

OPENERS = ways("Sure. / Right. / One moment. / Let me see. / Understood. / Got it. / Noted. / Of course.")
SAY_NOTHING = ways("""
    Let me {look into|check} that for you. / {One moment|Bear with me}, I am {on it|looking}. /
    I {see|understand}; {leave that with me|I will see to it}.""")
