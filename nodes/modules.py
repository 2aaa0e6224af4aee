"""The registry: which modules there are. A sixth one is a new file and a line here."""

from understudy.nodes.conflict import CONFLICT, read_conflict
from understudy.nodes.faculty import Faculty
from understudy.nodes.goals import GOALS, decompose_goals
from understudy.nodes.intent import INTENT, predict_intent
from understudy.nodes.quality import QUALITY, evaluate_quality
from understudy.nodes.response import RESPONSE, propose_response

READERS = {CONFLICT: read_conflict, INTENT: predict_intent, QUALITY: evaluate_quality, GOALS: decompose_goals}
"""They read the turn side by side."""

PROPOSER = (RESPONSE, propose_response)
"""It comes after them and sees what they said."""

MODULES: dict[str, Faculty] = {faculty.name: faculty for faculty in (*READERS, RESPONSE)}
