"""Recipes for names, texts, addresses and documents.

Here: one function per recipe; `recipes.py` lists them. Not here: the words (`vocabulary.py`).
"""

# ruff: noqa: ARG001 - recipes share one signature

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from tenant_ops.datasets.definition import Column
from tenant_ops.datasets.synthesis import randomness, vocabulary
from tenant_ops.datasets.synthesis.domains import Values, join, parse, pc, scale
from tenant_ops.datasets.synthesis.randomness import Bits, Index, below
from tenant_ops.datasets.synthesis.samples import Sample

if TYPE_CHECKING:
    from tenant_ops.datasets.synthesis.rows import Rows


def person(rows: Rows, column: Column, sample: Sample) -> Values:
    """`person`: a first and a last name."""
    first, last = _name_numbers(rows, column.name)
    return join(_take([a for a, _ in vocabulary.FIRST_NAMES], first), " ",
                _take([a for a, _ in vocabulary.LAST_NAMES], last))  # fmt: skip


def email(rows: Rows, column: Column, sample: Sample) -> Values:
    """`email display_name`: an address made from the name in that column, a different one for every row."""
    first, last = _name_numbers(rows, sample.arguments[0])
    domain = below(rows.bits(column.name, "domain"), len(vocabulary.MAIL_DOMAINS))
    return join(_take([b for _, b in vocabulary.FIRST_NAMES], first), ".",
                _take([b for _, b in vocabulary.LAST_NAMES], last), rows.index + 1, "@",
                _take(vocabulary.MAIL_DOMAINS, domain))  # fmt: skip


def stage_name(rows: Rows, column: Column, sample: Sample) -> Values:
    """`stage_name`: the name of a band or a singer."""
    drawn = [rows.bits(column.name, part) for part in ("form", "adjective", "noun", "first", "last")]
    nouns = _word(drawn[2], vocabulary.NOUNS)
    bands = join("The ", _word(drawn[1], vocabulary.ADJECTIVES), " ", nouns, "s")
    pairs = join(_word(drawn[1], vocabulary.ADJECTIVES), " ", nouns)
    people = join(_word(drawn[3], [a for a, _ in vocabulary.FIRST_NAMES]), " ",
                  _word(drawn[4], [a for a, _ in vocabulary.LAST_NAMES]))  # fmt: skip
    return pc.choose(pa.array(below(drawn[0], 3)), bands, pairs, people)


def title(rows: Rows, column: Column, sample: Sample) -> Values:
    """`title`: the title of a song, a list or a text."""
    drawn = [rows.bits(column.name, part) for part in ("form", "adjective", "noun", "other", "place")]
    adjectives, nouns = _word(drawn[1], vocabulary.ADJECTIVES), _word(drawn[2], vocabulary.NOUNS)
    others, places = _word(drawn[3], vocabulary.NOUNS), _word(drawn[4], vocabulary.PLACES)
    return pc.choose(
        pa.array(below(drawn[0], 6)),
        join(adjectives, " ", nouns),
        join("The ", nouns, " of ", places),
        join(nouns, " and ", others),
        join(adjectives, " ", nouns, " (Live in ", places, ")"),
        join(places, ", ", adjectives, " ", nouns),
        nouns,
    )


def prose(rows: Rows, column: Column, sample: Sample) -> Values:
    """`prose 2 8`: that many sentences."""
    least, most = (int(text) for text in sample.arguments)
    sentences = least + below(rows.bits(column.name, "length"), most - least + 1)
    text = _sentence(rows, column.name, 0)
    for number in range(1, most):
        longer = join(text, " ", _sentence(rows, column.name, number))
        text = pc.if_else(pa.array(sentences > number), longer, text)
    return text


def words_in(rows: Rows, column: Column, sample: Sample) -> Values:
    """`words_in body`: how many words that column has; 0 where it is empty."""
    name = sample.arguments[0]
    words = np.asarray(pc.count_substring(rows.values(name), " ")) + 1
    return np.where(rows.missing(name), 0, words).astype(np.int64)


def phrase(rows: Rows, column: Column, sample: Sample) -> Values:
    """`phrase author`: what a person, the agent or a tool says in a conversation about music."""
    authors = rows.values(sample.arguments[0])
    words = {
        "genre": _word(rows.bits(column.name, "genre"), vocabulary.GENRES),
        "title": title(rows, column, sample),
    }
    spoken = pa.array([""] * len(rows.index), pa.string())
    for author, templates in vocabulary.PHRASES.items():
        number = below(rows.bits(column.name, author), len(templates))
        heads, blanks, tails = zip(*(_cut(template, words) for template in templates), strict=True)
        filled = _take(blanks, number)
        for blank, put in words.items():
            filled = pc.if_else(pc.equal(filled, blank), put, filled)
        said = join(_take(heads, number), filled, _take(tails, number))
        spoken = pc.if_else(pc.equal(authors, author), said, spoken)
    return spoken


def _cut(template: str, blanks: Iterable[str]) -> tuple[str, str, str]:
    """A template before its blank, the blank's name, and after it; a template has one blank at most."""
    for blank in blanks:
        head, found, tail = template.partition("{" + blank + "}")
        if found:
            return head, blank, tail
    return template, "", ""


def word(rows: Rows, column: Column, sample: Sample) -> Values:
    """`word GENRES`: one of the words of that vocabulary."""
    return _word(rows.bits(column.name), getattr(vocabulary, sample.arguments[0]))


def label(rows: Rows, column: Column, sample: Sample) -> Values:
    """`label kind`: the value of that column and a number, different for every row."""
    return join(rows.values(sample.arguments[0]), " ", rows.index + 1)


def fill(rows: Rows, column: Column, sample: Sample) -> Values:
    """`fill https://{kind}.example/hooks/{#}`: the text with columns and the row's number filled in."""
    parts: list[Values | str] = []
    for piece in sample.arguments[0].split("{"):
        name, brace, rest = piece.partition("}")
        if not brace:
            parts.append(piece)
            continue
        parts += [rows.index + 1 if name == "#" else rows.values(name), rest]
    return join(*parts)


def address(rows: Rows, column: Column, sample: Sample) -> Values:
    """`address`: an IP address of the documentation ranges, three IPv4 for each IPv6."""
    drawn = rows.bits(column.name)
    networks = ("192.0.2.", "198.51.100.", "203.0.113.")
    kind = below(rows.bits(column.name, "kind"), 4)
    fours = join(_take(networks, kind % 3), below(drawn, 254) + 1)
    sixes = join("2001:db8:", below(drawn, 9_000) + 1, "::", below(drawn << np.uint64(16), 9_000) + 1)
    return pc.if_else(pa.array(kind == 3), sixes, fours)


def isrc(rows: Rows, column: Column, sample: Sample) -> Values:
    """`isrc`: an International Standard Recording Code (ISO 3901), different for every row."""
    number = randomness.permuted(rows.world.seed, rows.dataset.name, rows.index, 10**9)
    country = _take(vocabulary.ISRC_COUNTRIES, number % len(vocabulary.ISRC_COUNTRIES))
    serial = pc.utf8_lpad(pc.cast(pa.array(number), pa.string()), 9, "0")
    letters = _take("ABCDEFGHIJKLMNOPQRSTUVWXYZ", below(rows.bits(column.name), 26))
    return join(country, letters, serial)


def document(rows: Rows, column: Column, sample: Sample) -> Values:
    """`document tempo=60.0..180.0 key=C|D live=true|false`: a JSON object, numbers as precise as shown."""
    parts: list[Values | str] = []
    for number, (name, wanted) in enumerate(sample.options.items()):
        drawn = rows.bits(column.name, name)
        low, dots, high = wanted.partition("..")
        parts.append(("{" if number == 0 else ",") + f'"{name}":')
        if dots:
            unit_column = Column(name, "numeric", sample=f"scale={len(low.partition('.')[2])}")
            least, most = (int(parse(unit_column, text)) for text in (low, high))
            parts.append(_decimal(least + below(drawn, most - least + 1), scale(unit_column)))
        else:
            values = wanted.split("|")
            plain = all(value in {"true", "false"} for value in values)
            parts.append(_word(drawn, values if plain else [f'"{value}"' for value in values]))
    return join(*parts, "}")


def _decimal(numbers: Index, decimals: int) -> Values:
    if not decimals:
        return numbers
    tail = pc.utf8_lpad(pc.cast(pa.array(numbers % 10**decimals), pa.string()), decimals, "0")
    return join(numbers // 10**decimals, ".", tail)


def _name_numbers(rows: Rows, column: str) -> tuple[Index, Index]:
    return (
        below(rows.bits(column, "first"), len(vocabulary.FIRST_NAMES)),
        below(rows.bits(column, "last"), len(vocabulary.LAST_NAMES)),
    )


def _sentence(rows: Rows, column: str, number: int) -> Values:
    drawn = [rows.bits(column, f"{number}", part) for part in ("opening", "subject", "verb", "object")]
    lists = (vocabulary.OPENINGS, vocabulary.SUBJECTS, vocabulary.VERBS, vocabulary.OBJECTS)
    a, b, c, d = (_word(bits, words) for bits, words in zip(drawn, lists, strict=True))
    return join(a, " ", b, " ", c, " ", d, ".")


def _word(drawn: Bits, words: Sequence[str]) -> pa.StringArray:
    return _take(words, below(drawn, len(words)))


def _take(words: Sequence[str], number: Index) -> pa.StringArray:
    return pa.array(list(words), pa.string()).take(pa.array(number))


RECIPES = (
    address,
    document,
    email,
    fill,
    isrc,
    label,
    person,
    phrase,
    prose,
    stage_name,
    title,
    word,
    words_in,
)
