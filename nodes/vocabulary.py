"""The words by which facts are known: days, units, money, negations, modals, promises, and what begins a sentence."""

import re

from understudy.lm.words import STOP_WORDS


def _table(lines: str) -> dict[str, str]:
    """Map each word of a line to the first one."""
    return {word: line.split()[0] for line in lines.strip().splitlines() for word in line.split()}


DAYS = _table(
    """monday mon\n tuesday tue tues\n wednesday wed\n thursday thu thur thurs\n friday fri\n saturday sat\n sunday sun
    today\n tonight\n tomorrow tmrw\n yesterday\n weekend weekends\n morning mornings\n afternoon afternoons
    evening evenings\n night\n lunes\n martes\n miercoles\n jueves\n viernes\n sabado\n domingo\n lundi\n mardi
    mercredi\n jeudi\n vendredi\n samedi\n dimanche\n segunda\n terca\n quarta\n quinta\n sexta\n montag\n dienstag
    mittwoch\n donnerstag\n freitag\n samstag\n sonntag\n hoy\n manana\n heute\n morgen\n demain\n hoje\n amanha"""
)
MONTHS = _table(
    """january jan\n february feb\n march mar\n april apr\n may\n june jun\n july jul\n august aug\n september sep sept
    october oct\n november nov\n december dec"""
)
NEED_CAPITAL = frozenset("may march mar sat sun wed mon jan".split())
PLEASANT = frozenset(
    "good great nice lovely wonderful pleasant fantastic beautiful amazing safe relaxing happy".split()
)
PERIODS = _table("week\n month\n year\n quarter\n day\n night\n hour\n minute\n season") | {"weekend": "weekend"}
WHICH = _table("next coming\n last past previous\n this\n every each per")
UNITS = _table(
    """minute minutes min mins\n second seconds sec secs\n hour hours hr hrs h\n day days\n night nights\n week weeks wk
    month months mo\n year years yr yrs\n km kilometer kilometers kilometre kilometres\n mile miles mi
    meter meters metre metres m\n cm\n mm\n kg kilo kilos kilograms\n g gram grams\n lb lbs\n liter liters litre litres
    degree degrees °\n celsius c\n fahrenheit f\n percent %\n square sq\n credit credits\n point points\n gb\n mb
    bedroom bedrooms\n room rooms\n star stars\n person persons\n way\n digit digits\n block blocks\n seat seats"""
)
SPANS = frozenset("minute second hour day night week month year".split())
MONEY = _table(
    """USD usd $ dollar dollars buck bucks\n EUR eur € euro euros\n GBP gbp £ pound pounds quid\n JPY jpy ¥ yen
    INR inr ₹ rupee rupees\n CHF chf franc francs\n CAD cad\n AUD aud\n CNY cny yuan\n cent cents"""
)
RELATIONS = frozenset(
    "before after by until since from between within over under above below about atleast atmost upto exactly".split()
)
AFTERWARDS = frozenset("ago later earlier before after onwards left".split())
NEGATIONS = _table(
    """not\n no!\n never\n none\n nobody\n nothing\n neither\n nor\n nowhere\n without\n hardly barely scarcely
    rarely seldom\n unless\n except\n anymore\n nicht\n kein keine keinen keiner keinem\n nie niemals\n nichts\n ohne
    pas\n jamais\n rien\n aucun aucune\n sans\n nunca\n nada\n nao"""
)
MODALS = _table("will shall\n would\n can\n could\n may\n might\n must\n should")
ROOT = re.compile(
    "guarant|promis|refund|reimburs|compensat|discount|voucher|coupon|warrant|waiv|complimentary|ensur|assur|upgrad"
    "|entitle|unlimited|lifetime|bonus"
)
OUTCOME = re.compile(
    "cancel|fail(?=(?:s|ed|ing|ure)?$)|expire|declin|reject|refus|deni|deny|clos(?=(?:e|es|ed|ing)$)|forbid"
    "|hesitat|worr(?=y|ied)|doubt"
)
WONDERING = frozenset("know see check ask asking tell wonder wondering".split())
WISHING = frozenset("need like want would could can wish please prefer".split())
PROMISES = _table(
    """free\n credit credits\n gift gifts\n always\n forever\n immediately\n asap\n soon shortly
    perhaps maybe possibly\n probably likely\n try attempt\n definitely certainly surely"""
)
OPENERS = frozenset(
    """hello hi hey dear howdy greetings welcome thanks thank thx please kindly sorry ok okay yes yeah yep sure great
    perfect fantastic excellent awesome wonderful alright right good fine cool nice bye goodbye cheers mr mrs ms miss dr
    prof sir madam mister doctor asap faq am pm noon midnight""".split()
)
COMMON = OPENERS | frozenset(
    """absolutely actually add additionally afterwards already alternatively although always amazing another anybody
    anyone anyway apologies apologize apologise arrange arrival around ask assist available average avoid back based
    beautiful because best better book booked booking both bring brilliant buy call cancel canceled cancelled card
    careful certainly change check choose click close come complete completed confirm confirmed congrats
    congratulations contact correct cost could currently date dates day definitely delighted departure details directly
    done double drive during earlier easy either end enjoy enter ensure enough every everybody everyone everything
    exactly expect feel fill final finally find first follow following fortunately forward found free full further
    generally get give given glad gladly glorious go going gone good got grab guests happy hang have head hear heard
    help hence here hold hope hopefully however i'm idea include including indeed info information instead interesting
    interested
    keep kind know last lastly later leave left let listen location long look looking looks lovely make many maybe
    mention might mind missing moment more moreover most move much must name need neither never nevertheless next no
    nobody none nope nothing note noted notice now number obviously off oh once one only open order otherwise overall
    pay perhaps pick place plan please pleased pleasure possibly prepare press previously price probably proceed promise
    provide put question quick quickly rather read ready really receive regarding regards register regrettably remember
    reply request require reserve reserved respond rest return ride room save say schedule scheduled search security see
    seems select send share shall show simply since sign single situation someone something somebody soon sounds sorted
    special speak start started stay still stop submit successful successfully such super sure surely take talk tell
    thank thankfully there therefore though through thus time too total totally true truly try trying turn type
    understand understood unfortunately unless until up upon usually verify very visit wait walk want warm wanna watch
    way wish without wonderful wow write wrong yay yet yup""".split()
)
"""Words that may begin a sentence; names that are also words (Mark, Grace, New York) are left out."""
PLAIN = (STOP_WORDS - {"will"} | OPENERS | set(MONEY) | set(MONTHS) | set(DAYS) | {"us", "etc", "vs"}) - {"mark"}
