"""Seeded people of the demo: accounts of the shop and customers of the CRM, with households, gaps and typing errors; and the truth."""

from __future__ import annotations

import random
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

__all__ = ["CAMPAIGNS", "Order", "People", "make_orders", "make_people"]

_GIVEN = ["anna", "ben", "carla", "david", "elena", "felix", "greta", "hannes", "ida", "jonas", "klara", "leon", "maria", "nils", "olga", "paul", "rosa", "simon", "tina", "urs", "vera", "willi", "xenia", "yannis", "zoe", "mia", "noah", "lea", "finn", "emma", "luis", "lena", "tim", "sara", "max", "julia", "jan", "nina", "erik"]  # fmt: skip
_FAMILY = ["mueller", "schmidt", "weber", "wagner", "becker", "hoffmann", "koch", "richter", "klein", "wolf", "neumann", "braun", "zimmermann", "krueger", "hartmann", "lange", "werner", "krause", "lehmann", "maier", "huber", "peters", "scholz", "jung", "hahn", "keller", "frank", "berger", "winkler", "roth", "beck", "lorenz", "baumann", "franke", "albrecht"]  # fmt: skip
_HOSTS = ("mail.example", "post.example", "inbox.example", "web.example")


@dataclass(frozen=True, slots=True)
class People:
    """Rows as CSV-like tuples, and the pairs (user id, customer id) that are the same person."""

    users: list[tuple[int, str, str, str | None, str | None, str, date]]
    customers: list[tuple[str, str, str | None, str | None, str, date | None]]
    truth: frozenset[tuple[int, str]]


def make_people(seed: int, *, users: int = 2000, customers: int = 1600, shared: int = 1200) -> People:
    """`shared` people are in both systems; some people live in one household and share name, postcode and phone."""
    rng = random.Random(seed)  # noqa: S311  # made-up people, no secret
    persons = [_person(rng) for _ in range(users + customers - shared)]
    for index in range(0, len(persons) - 1, 9):  # households: same family name, postcode and phone
        given, _, mail, _, _, born = persons[index + 1]
        _, family, _, phone, plz, _ = persons[index]
        persons[index + 1] = (given, family, mail, phone, plz, born)
    rng.shuffle(persons)
    accounts = [(100 + i, g.title(), f.title(), m, p, z, b) for i, (g, f, m, p, z, b) in enumerate(persons[:users])]
    contacts, truth = [], set()
    for number, person in enumerate(persons[users - shared :]):
        customer_id = f"C{number:05d}"
        contacts.append((customer_id, *_copied(rng, person)))
        if number < shared:
            truth.add((100 + users - shared + number, customer_id))
    rng.shuffle(contacts)
    return People(accounts, contacts, frozenset(truth))


def _person(rng: random.Random) -> tuple[str, str, str | None, str | None, str, date]:
    given, family = rng.choice(_GIVEN), rng.choice(_FAMILY)
    mail = f"{given}.{family}{rng.randint(1, 9999)}@{rng.choice(_HOSTS)}" if rng.random() < 0.95 else None
    phone = f"+4930{rng.randint(1_000_000, 9_999_999)}" if rng.random() < 0.8 else None
    return (
        given,
        family,
        mail,
        phone,
        f"{rng.randint(10_000, 19_999)}",
        date(1950, 1, 1) + timedelta(days=rng.randint(2, 19_000)),
    )


def _copied(
    rng: random.Random, person: tuple[str, str, str | None, str | None, str, date]
) -> tuple[str, str | None, str | None, str, date | None]:
    """The same person as a CRM has them: typing errors, other mails, moves, gaps."""
    given, family, mail, phone, plz, born = person
    if rng.random() < 0.08:
        family = _typo(rng, family)
    if rng.random() < 0.08:
        given = _typo(rng, given)
    if mail is not None and rng.random() < 0.10:
        mail = _typo(rng, mail.partition("@")[0]) + "@" + mail.partition("@")[2]
    if rng.random() < 0.12:
        mail = None
    if rng.random() < 0.20:
        phone = None
    elif phone is not None:
        phone = "0" + phone.removeprefix("+49")
    if rng.random() < 0.06:
        plz = f"{rng.randint(10_000, 19_999)}"
    return f"{given.title()} {family.title()}", mail, phone, plz, born if rng.random() < 0.9 else None


def _typo(rng: random.Random, word: str) -> str:
    at = rng.randrange(len(word) - 1)
    kind = rng.random()
    if kind < 0.4:
        return word[:at] + word[at + 1] + word[at] + word[at + 2 :]
    if kind < 0.7:
        return word[:at] + word[at + 1 :]
    return word[:at] + rng.choice("abcdefghijklmnopqrstuvwxyz") + word[at + 1 :]


@dataclass(frozen=True, slots=True)
class Order:
    """A row of the shop's private table."""

    id: int
    amount: Decimal
    status: str
    campaign_id: int | None
    email: str
    placed_at: datetime


CAMPAIGNS = (
    (1, "Black Friday", Decimal("3000.00"), Decimal("14500.50")),
    (2, "Summer Sale", Decimal("1200.00"), Decimal("8200.00")),
)


def make_orders(seed: int, *, now: datetime, newest_minutes: int = 12) -> list[Order]:
    """Orders whose totals per campaign are the documented revenues; the newest is `newest_minutes` old."""
    rng = random.Random(seed)  # noqa: S311  # made-up orders
    orders: list[Order] = []
    for campaign_id, _, _, revenue in CAMPAIGNS:
        cents, count = int(revenue * 100), 60
        cuts = sorted(rng.sample(range(100, cents - 100), count - 1))
        parts = [b - a for a, b in zip([0, *cuts], [*cuts, cents], strict=True)]
        orders += [_order(rng, 1001 + len(orders) + i, part, campaign_id, now) for i, part in enumerate(parts)]
    orders += [_order(rng, 1001 + len(orders) + i, rng.randint(500, 50_000), None, now) for i in range(80)]
    newest = now - timedelta(minutes=newest_minutes)
    first = orders[0]
    orders[0] = Order(first.id, first.amount, "paid", first.campaign_id, "john.doe@gmail.com", newest)
    return orders


def _order(rng: random.Random, number: int, cents: int, campaign_id: int | None, now: datetime) -> Order:
    placed = now - timedelta(minutes=rng.randint(13, 40_000))
    mail = f"{rng.choice(_GIVEN)}.{rng.choice(_FAMILY)}@{rng.choice(_HOSTS)}"
    return Order(
        number,
        Decimal(cents) / 100,
        rng.choice(["open", "paid", "completed"]),
        campaign_id,
        mail,
        placed.astimezone(UTC),
    )
