"""Other times, dates, numbers and codes in the place of somebody's."""

import random
import re
from collections.abc import Iterable

from understudy.lm.phrasebook import MONTHS

_TIME = re.compile(r"(\d{1,2})([:.]\d\d)?\s?([ap])\.?m\b\.?|(\d{1,2})(:\d\d)$", re.IGNORECASE)
_RANK = re.compile(r"(\d{1,2})(st|nd|rd|th)$", re.IGNORECASE)


class Figures:
    """What stands within one dream for figures; times and days of the month are all moved by the same."""

    def __init__(self, rng: random.Random, texts: Iterable[str]) -> None:
        """Read everybody's texts, so that no code is like one of theirs."""
        self.rng = rng
        self.numbers = {run for text in texts for run in re.findall(r"\d+", text)}
        self.hours, self.days = rng.choice((1, 2, 3, -1, -2)), rng.randrange(2, 9)

    def number(self, token: str) -> str:
        """Return another time, day, date or number in the place of a token with digits."""
        if match := _TIME.match(token):
            hour = (int(match[1] or match[4]) + self.hours - 1) % 12 + 1
            minutes = self.rng.choice((":15", ":30", ":45")) if match[2] or match[5] else ""
            return f"{hour}{minutes}" + (f" {match[3].lower()}m" if match[3] else "")
        if match := _RANK.match(token):
            return ranked((int(match[1]) + self.days - 1) % 28 + 1)
        if days := re.fullmatch(r"(\d\d?)(?:st|nd|rd|th)?-(\d\d?)(?:st|nd|rd|th)?", token):
            return " to ".join(ranked((int(day) + self.days - 1) % 28 + 1) for day in days.groups())
        if re.fullmatch(r"\d{1,4}[/.-]\d{1,2}[/.-]\d{1,4}", token):
            month = self.rng.choice(MONTHS).capitalize()
            return f"{self.rng.randrange(2, 29)} {month} {self.rng.randrange(1955, 2003)}"
        if token.isdecimal() and int(token) <= 31:
            return str(max(1, int(token) + self.rng.choice((-2, -1, 1, 2, 3))) if int(token) > 2 else int(token) + 1)
        return self.code(token)

    def code(self, token: str) -> str:
        """Return other digits and letters in the same shape, with at most four digits."""
        for _ in range(6):
            left, made = 4, ""
            for letter in token[:12]:
                if letter.isdigit():
                    made += str(self.rng.randrange(1 if left == 4 else 0, 10)) if left else ""
                    left -= left > 0
                elif letter.isalpha() and not token[0].isdigit():
                    made += self.rng.choice("ABCDEFGHKLMNPRSTUVW" if letter.isupper() else "abcdefghkmnprstuvw")
                else:
                    made += letter if left else ""
            if not {run for run in re.findall(r"\d{3,}", made)} & self.numbers:
                break
        return made


def ranked(day: int) -> str:
    """Return a day of the month as `2nd`."""
    ending = "th" if day in (11, 12, 13) else {1: "st", 2: "nd", 3: "rd"}.get(day % 10, "th")
    return f"{day}{ending}"
