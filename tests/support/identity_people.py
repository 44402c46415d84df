"""A seeded country for tests of identity: households that share name, address and contacts, namesakes, skewed names, errors of
many kinds, moves, gaps, and any overlap of the two sides down to none. Everything is made up from syllables."""

from __future__ import annotations

import random
from dataclasses import dataclass

import numpy as np
import polars as pl

LETTERS = "abcdefghijklmnopqrstuvwxyz"
HOSTS = ["mail.example", "post.example", "inbox.example", "web.example", "home.example"]
GIVEN_SHAPE = (["a", "be", "ca", "da", "e", "fe", "gi", "ha", "i", "jo", "ka", "le", "ma", "ni", "o", "pa", "ro", "si", "ti", "u", "vi", "wi"],
               ["n", "r", "l", "s", "t", "m", "d", "v", "nn", "rt", "lm", "sk"], ["a", "e", "o", "us", "in", "ie", "el", "en", "ah", "ert"])  # fmt: skip
FAMILY_SHAPE = (["al", "bau", "ber", "bo", "dre", "eber", "fi", "fran", "gol", "gro", "hart", "hof", "kel", "kla", "lan", "leh", "mei", "mue", "neu", "ober", "pe", "rei", "sau", "schu", "stein", "tho", "vo", "wag", "wei", "zim"],
                ["", "n", "s", "l", "r", "d", "g", "k"], ["ler", "mann", "er", "berg", "ner", "feld", "hardt", "ing", "haus", "bach", "ke", "sen", "stein", "ski", "el"])  # fmt: skip


@dataclass(frozen=True)
class Country:
    """Two sides and the truth: pairs of ids that are the same person."""

    left: pl.DataFrame
    right: pl.DataFrame
    truth: frozenset[tuple[int, str]]


def make_country(
    seed: int, rows: int, *, overlap: float = 0.6, noise: float = 1.0, population: int | None = None
) -> Country:
    """`rows` people a side, `overlap` of them in both; the country has `population` people (default 1.5 x what is needed)."""
    shared = int(rows * overlap)
    needed = 2 * rows - shared
    rng = random.Random(seed)
    people = _people(rng, np.random.default_rng(seed), population or int(needed * 1.5))
    drawn = rng.sample(people, needed)
    left = [(i, *_entry(rng, p, noise * 0.5)) for i, p in enumerate(drawn[:rows])]
    right = [(f"C{i}", *_entry(rng, p, noise)) for i, p in enumerate(drawn[rows - shared :])]
    truth = frozenset((rows - shared + i, f"C{i}") for i in range(shared))
    rng.shuffle(left)
    rng.shuffle(right)
    columns = ["given", "surname", "mail", "phone", "street", "plz", "city", "born"]
    return Country(
        pl.DataFrame(left, schema={"user_id": pl.Int64, **dict.fromkeys(columns, pl.String)}, orient="row"),
        pl.DataFrame(right, schema={"customer_id": pl.String, **dict.fromkeys(columns, pl.String)}, orient="row"),
        truth,
    )


def _vocabulary(shape, rng: random.Random, size: int) -> list[str]:
    words = sorted({a + b + c for a in shape[0] for b in shape[1] for c in shape[2]})
    rng.shuffle(words)
    return words[:size]


def _skewed(numbers: np.random.Generator, size: int, count: int, power: float) -> list[int]:
    share = 1 / (np.arange(size) + 8.0) ** power
    return numbers.choice(size, count, p=share / share.sum()).tolist()


def _people(rng: random.Random, numbers: np.random.Generator, count: int) -> list[tuple]:
    given, family = _vocabulary(GIVEN_SHAPE, rng, 2000), _vocabulary(FAMILY_SHAPE, rng, 3600)
    streets = _vocabulary(FAMILY_SHAPE, rng, 900)
    cities = _vocabulary(FAMILY_SHAPE, rng, 300)
    of_given = _skewed(numbers, len(given), count, 1.0)
    of_family = _skewed(numbers, len(family), count, 0.9)
    postcodes = max(200, count // 400)
    people: list[tuple] = []
    while len(people) < count:
        size = rng.choice([1, 1, 1, 2, 2, 3, 4, 5])
        surname = family[of_family[len(people)]]
        area = rng.randrange(postcodes)
        home = (f"{rng.choice(streets)} street {rng.randint(1, 120)}", f"{10_000 + area}", cities[area % len(cities)])
        line = f"0{rng.randint(200_000_000, 999_999_999)}"
        mailbox = f"{surname}{rng.randint(1, 99_999)}@{rng.choice(HOSTS)}"
        for _ in range(min(size, count - len(people))):
            first = given[of_given[len(people)]]
            own = surname if rng.random() < 0.88 else family[of_family[rng.randrange(count)]]
            mail = mailbox if rng.random() < 0.15 else f"{first}.{own}{rng.randint(1, 9999)}@{rng.choice(HOSTS)}"
            phone = line if rng.random() < 0.3 else f"01{rng.randint(50_000_000, 79_999_999)}"
            born = (rng.randint(1935, 2005), rng.randint(1, 12), rng.randint(1, 28))
            people.append((first, own, mail, phone, *home, born))
    return people


def _typo(rng: random.Random, word: str) -> str:
    if len(word) < 2:
        return word
    at = rng.randrange(len(word) - 1)
    kind = rng.randrange(4)
    if kind == 0:
        return word[:at] + word[at + 1] + word[at] + word[at + 2 :]
    if kind == 1:
        return word[:at] + word[at + 1 :]
    letter = rng.choice("0123456789" if word[at].isdigit() else LETTERS)
    return word[:at] + letter + word[at + (kind == 2) :]


def _entry(rng: random.Random, person: tuple, noise: float) -> tuple:
    given, family, mail, phone, street, plz, city, (year, month, day) = person
    hit = lambda p: rng.random() < p * noise  # noqa: E731
    if hit(0.10):
        given = _typo(rng, given)
    if hit(0.04):
        given = given[0]
    if hit(0.08):
        family = _typo(rng, family)
    if hit(0.02):
        family = family + "-" + _typo(rng, family[::-1])  # a new name by marriage
    if hit(0.015):
        given, family = family, given
    if hit(0.10):
        mail = _typo(rng, mail.partition("@")[0]) + "@" + mail.partition("@")[2]
    elif hit(0.15):
        mail = f"{given}{rng.randint(1, 99_999)}@{rng.choice(HOSTS)}"
    if hit(0.15):
        phone = f"01{rng.randint(50_000_000, 79_999_999)}"
    elif hit(0.04):
        phone = _typo(rng, phone)
    if hit(0.12):  # moved
        street, plz, city = f"{rng.choice(LETTERS)}weg {rng.randint(1, 99)}", f"{rng.randint(10_000, 10_400)}", "moved"
    elif hit(0.10):
        street = _typo(rng, street)
    if hit(0.03):
        month, day = (day, month) if day <= 12 else (month, day)
    elif hit(0.04):
        year += rng.choice([-10, -1, 1, 10])
    born = f"{year}-{month:02}-{day:02}"
    gaps = (0.01, 0.005, 0.25, 0.3, 0.1, 0.05, 0.05, 0.2)
    row = (given, family, mail, phone, street, plz, city, born)
    return tuple(None if rng.random() < g * noise else v for v, g in zip(row, gaps, strict=True))
