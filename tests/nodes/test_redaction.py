"""What is a customer's own gets a tag; what others say too stays, or nothing could be learnt."""

from typing import Any

import pytest

from understudy.nodes.redaction import Redaction, Said
from understudy.profile import load_profile

PROFILE = load_profile("default")


def redacted(text: Any, *customers: dict[str, Any], others: str = "", count: int = 0) -> Any:
    """Return what is shown when one conversation has some objects, and others say something and have the last one."""
    known = {"c": list(customers), **{f"o{n}": [customers[-1] | {"id": n}] for n in range(count)}}
    talk = [("c", "customer", str(text)), *((f"o{n}", "customer", others) for n in range(40) if others)]
    return Redaction(Said(talk, known), [PROFILE])(text)


@pytest.mark.parametrize(
    ("customer", "text", "shown"),
    [
        ({"name": {"first": "Bo", "last": "Qi"}}, "it is Bo Qi", "it is [customer] [customer]"),
        ({"name": "\u674e\u5a1c"}, "\u6211\u53eb\u674e\u5a1c", "\u6211\u53eb[customer]"),
        ({"name": "\u5c71\u7530\u592a\u90ce"}, "\u5c71\u7530\u3067\u3059", "[customer]\u3067\u3059"),
        ({"name": "\u0141ukasz S\u00f8nderg\u00e5rd"}, "lukasz, sondergard", "[customer]"),
        ({"name": "Zorvath"}, "zorvaths van", "[customer] van"),
        ({"home": "Quillgracht 5, Tietjerk"}, "quillgracht in tietjerk", "[customer] in [customer]"),
        ({"mail": "quillfeather@x.example"}, "log in as quillfeather", "log in as [customer]"),
        ({"contacts": {"Zorvath": "x"}}, "i am zorvath", "i am [customer]"),
        ({"note": f"{'she rings twice ' * 5}about her friend Zorvath"}, "zorvath rang", "[customer] rang"),
        ({"born": "1988-04-03"}, "1988 04 03", "[customer]"),
        ({"balance": 1520.25}, "1520.25", "[customer]"),
    ],
)
def test_what_only_one_customer_has_is_a_tag(customer: dict[str, Any], text: str, shown: str) -> None:
    assert redacted(text, customer) == shown


@pytest.mark.parametrize(
    ("customer", "text"),
    [
        ({"pay": "credit card"}, "can I pay by credit card"),
        ({"hotel_name": "Hilton"}, "I stay at the Hilton"),
        ({"vehicle": "Honda Jazz"}, "my Honda Jazz"),
        ({"points": 1000, "since": 2019}, "my 2019 Ford at 10:00 for $1000"),
        ({"code": 100017}, "from 10:00, 17 of us"),
    ],
)
def test_what_others_have_or_say_stays(customer: dict[str, Any], text: str) -> None:
    assert redacted(text, customer, others=text) == text
    assert redacted(text, customer, count=39) == text


def test_a_value_is_its_owners_however_often_the_object_changes() -> None:
    objects = [{"login": "quillfeather", "carts": n} for n in range(9)]
    assert redacted("I am quillfeather", *objects) == "I am [customer]"


def test_of_a_customer_only_the_preferences_are_shown() -> None:
    customer = {"phone": 31612345678.0, "balance": 1520.25, "pin": 437, "vip": True, "mail": None}
    shown = redacted(
        {"customer_profile": customer | {"preferences": {"formality": "casual"}}, "state": customer, "score": 0.25},
        customer,
    )
    hidden = dict.fromkeys(customer, "[customer]") | {"mail": None}
    assert shown["customer_profile"] == hidden | {"preferences": {"formality": "casual"}}
    assert (shown["state"]["phone"], shown["state"]["balance"], shown["score"]) == ("[number]", "[customer]", 0.25)
