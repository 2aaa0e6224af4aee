"""Put every conversation on one side of the data, for ever: near-copies stand on the same one.

A conversation gets its side when it is first seen closed. It is compared with all that have one, by a MinHash of its
messages: if it resembles one of them it joins that one's cluster and so its side, else it founds a cluster, and a hash
of the cluster says the side. Nothing is ever moved: one that resembles two clusters joins the more alike, and of two
that are equally alike the one that was there first.
"""

import hashlib
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cache
from typing import TYPE_CHECKING, Literal, NamedTuple

from understudy.checkpoints.gym import Gym
from understudy.events import Line

if TYPE_CHECKING:
    from datasketch import MinHash  # type: ignore[import-untyped]

Side = Literal["train", "validation", "sealed"]

SHARES: dict[Side, int] = {"train": 50, "validation": 25, "sealed": 25}
"""Of a hundred clusters, how many stand on each side."""

ALIKE = 0.5
"""Share of common pieces (Jaccard) from which on two conversations are near-copies.

Of the 179,700 pairs among 600 STAR conversations, whose agents and tasks have most of their wording in common, one is
at 0.50 and nine are above 0.35. Copies with three words changed, a message more or less, or other names and numbers
join their original in 98 to 100 of 100 cases, and copies with all of these at once in 97.
"""

SLOTS, BAND = 128, 4
"""Numbers in a sketch, and how many of them in a row two sketches must share for a look at the rest."""

LOOKED_AT = 400
"""Messages of a conversation, from its first, that are compared."""

_WORD = re.compile(r"[^\W_]+")


class Place(NamedTuple):
    """Where a conversation stands."""

    cluster: str
    side: Side


def placed(gym: Gym, conversations: Sequence[str], upto: int) -> dict[str, Place]:
    """Return where conversations stand, after giving those a place that have none, in the order given.

    Events above the row `upto` are not looked at.
    """
    known = gym.material.sides(conversations)
    if new := [name for name in conversations if name not in known]:
        for name in new:
            _place(gym, name, gym.material.first_messages(name, upto, LOOKED_AT))
        known.update(gym.material.sides(new))
    return {name: Place(cluster, _side(side)) for name, (cluster, side) in known.items()}


def sketch(messages: Iterable[Line]) -> bytes:
    """Return the MinHash of a conversation: SLOTS numbers of four bytes, little endian."""
    empty = _empty()
    # The scheme is named so that a later datasketch with another default gives the same numbers.
    mine = type(empty)(num_perm=SLOTS, permutations=empty.permutations, scheme="affine32")
    mine.update_batch([piece.encode() for piece in sorted(set(_pieces(messages)))])
    return bytes(mine.digest().astype("<u4").tobytes())


def likeness(mine: bytes, others: Sequence[bytes]) -> list[float]:
    """Return the share of common pieces with each of the others, as sketches estimate it (to about 0.03)."""
    import numpy  # here, as datasketch below

    table = numpy.frombuffer(b"".join(others), "<u4").reshape(len(others), SLOTS)
    return [int(same) / SLOTS for same in (table == numpy.frombuffer(mine, "<u4")).sum(axis=1)]


def _place(gym: Gym, conversation_id: str, messages: Iterable[Line]) -> None:
    mine = sketch(messages)

    def choose(others: Sequence[tuple[bytes, str, str]]) -> tuple[str, str]:
        alike = likeness(mine, [other for other, _, _ in others])
        if alike and max(alike) >= ALIKE:
            _, cluster, side = others[alike.index(max(alike))]  # the first of equals, and the first seen come first
            return cluster, side
        cluster = hashlib.sha256(mine).hexdigest()[:16]
        return cluster, side_of(cluster)

    gym.material.place(conversation_id, mine, list(bands(mine)), choose)


def side_of(cluster: str) -> Side:
    """Return the side of a new cluster."""
    drawn = int.from_bytes(hashlib.sha256(f"side {cluster}".encode()).digest()[:8]) % sum(SHARES.values())
    for side, share in SHARES.items():
        if drawn < share:
            return side
        drawn -= share
    raise AssertionError("the shares cover every draw")


def _side(name: str) -> Side:
    return next(side for side in SHARES if side == name)


def _pieces(messages: Iterable[Line]) -> Iterator[str]:
    """Yield what is compared: two words in a row of a customer, an agent's message as a whole; every number is 0.

    Agents use the same sentences in many conversations, so that a sentence tells no more than a pair of words does.
    """
    for line in messages:
        words = ["0" if any(map(str.isdigit, word)) else word for word in _WORD.findall(line["text"].casefold())]
        if line["role"] == "agent":
            yield " ".join(["agent", *words])
        else:
            padded = ["customer", *words]
            yield from (" ".join(padded[i : i + 2]) for i in range(max(1, len(words))))


def bands(mine: bytes) -> Iterator[int]:
    """Yield a number for each BAND slots of a sketch, as SQLite's integers are."""
    width = 4 * BAND
    for start in range(0, len(mine), width):
        piece = hashlib.sha256(start.to_bytes(4) + mine[start : start + width]).digest()
        yield int.from_bytes(piece[:8], signed=True)


@cache
def _empty() -> "MinHash":
    from datasketch import MinHash  # here, as it takes half a second to load and not every process builds a dataset

    return MinHash(num_perm=SLOTS, seed=1, scheme="affine32")


def clusters_by_side(places: Mapping[str, Place]) -> dict[str, dict[str, int]]:
    """Count the conversations and the clusters on each side."""
    found: dict[str, dict[str, int]] = {}
    for side in SHARES:
        clusters = [place.cluster for place in places.values() if place.side == side]
        found[side] = {"conversations": len(clusters), "clusters": len(set(clusters))}
    return found
