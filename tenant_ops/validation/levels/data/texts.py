r"""How texts are written: blanks, letter case, characters nobody sees, characters nobody meant.

Here: rules about one text, and the fix where it loses nothing. Not here: declared lengths and patterns
(`columns.py`), texts alike in two rows (`keys.py`).

Labels are short texts people compare by eye. In running text blanks and joiners have their uses; only wrong
decoding is looked for there. Text that is ASCII alone is passed over by its length in bytes, which costs a
tenth of a regular expression.
"""

from collections.abc import Iterator

from tenant_ops.datasets import Column, Dataset, Matches, OneOf
from tenant_ops.datasets.definition import Rule as ColumnRule
from tenant_ops.validation.levels.data.wording import literal, quoted, row_rule
from tenant_ops.validation.rules import Rewrite, Rule

BLANKS = " \t\r\n"
OPEN_SIGNS = (".", "[^", "\\S", "\\D", "\\W")

# What UTF-8 becomes when it is read as Windows-1252 or Latin-1: the first byte of a two-byte character turns
# into one of these letters, the second into a sign that no word has after it. Quotation marks and dashes are
# left out after capitals, which they may follow. Then the characters for "could not be decoded", and the
# control characters of Latin-1, which no text has.
MOJIBAKE = (
    "[\\u00C2\\u00C3][\\u00A0-\\u00BA\\u00BC-\\u00BF]"
    "|\\u00E2[\\u201A\\u201E\\u20AC]|\\u00F0\\u0178|\\u00EF\\u00BB\\u00BF"
    "|([\\u00D0\\u00D1][\\u00A0-\\u00BF\\u0152\\u0153\\u0160\\u0161\\u0178\\u017D\\u017E\\u0192"
    "\\u02C6\\u02DC\\u2013-\\u2026\\u2030\\u2039\\u203A\\u20AC\\u2122]){2}"
    "|[\\uFFFD\\u0080-\\u009F]"
)
# Control characters but for tab and line ends, zero-width space, word joiner, byte-order mark, and the marks
# that turn the direction of text, by which one name can look like another.
# https://www.unicode.org/reports/tr36/#Bidirectional_Text_Spoofing
INVISIBLE = (
    "[\\u0001-\\u0008\\u000B\\u000C\\u000E-\\u001F\\u007F\\u200B\\u2060\\uFEFF\\u202A-\\u202E\\u2066-\\u2069]"
)


def text_rules(dataset: Dataset, column: Column) -> Iterator[Rule]:
    """The rules about how the texts of a column are written; none where its values are closed."""
    if column.type != "text" or any(map(_is_closed, column.rules)):
        return
    label = _is_label(column)
    if label:
        yield from _blanks(dataset, column)
    yield _decoded(dataset, column)
    if label or column.privacy == "email":
        yield from _same_for_all(dataset, column)
    if column.privacy == "email":
        name = quoted(column.name)
        yield row_rule(
            dataset,
            column,
            "lowercase",
            f"{name} <> lower({name})",
            "is in lower case, as addresses are compared",
            severity="warning",
            remediation="Write it in lower case: validate with --auto-fix.",
            fix=Rewrite(column.name, f"lower({name})"),
        )


def _blanks(dataset: Dataset, column: Column) -> Iterator[Rule]:
    name = quoted(column.name)
    trimmed = f"btrim({name}, {literal(BLANKS)})"
    yield row_rule(dataset, column, "blank", f"{trimmed} = '' AND {name} <> ''", "is more than blanks")
    yield row_rule(
        dataset,
        column,
        "trimmed",
        f"{name} <> {trimmed} AND {trimmed} <> ''",
        "has no blanks around it",
        severity="warning",
        remediation="Trim it: validate with --auto-fix.",
        fix=Rewrite(column.name, trimmed),
    )


def _decoded(dataset: Dataset, column: Column) -> Rule:
    name = quoted(column.name)
    return row_rule(
        dataset,
        column,
        "encoding",
        f'{_not_ascii(name)} AND {name} COLLATE "C" ~ {literal(MOJIBAKE)}',
        "was decoded as it was encoded",
        remediation="Load the rows again with the encoding their file has: --encoding.",
    )


def _same_for_all(dataset: Dataset, column: Column) -> Iterator[Rule]:
    """What looks the same is the same."""
    name = quoted(column.name)
    yield row_rule(
        dataset,
        column,
        "invisible",
        f'{name} COLLATE "C" ~ {literal(INVISIBLE)}',
        "has no characters that cannot be seen",
        severity="warning",
        remediation="Take them out: validate with --auto-fix.",
        fix=Rewrite(column.name, f"regexp_replace({name} COLLATE \"C\", {literal(INVISIBLE)}, '', 'g')"),
    )
    yield row_rule(
        dataset,
        column,
        "composed",
        f"{_not_ascii(name)} AND {name} IS NOT NFC NORMALIZED",
        "has accents in one character with their letters (Unicode NFC)",
        severity="warning",
        remediation="Compose it: validate with --auto-fix.",
        fix=Rewrite(column.name, f"normalize({name}, NFC)"),
    )


def _not_ascii(name: str) -> str:
    return f"octet_length({name}) > char_length({name})"


def _is_closed(rule: ColumnRule) -> bool:
    """Whether it names every character a value may have; a dot or a negation in a pattern lets others in."""
    match rule:
        case OneOf():
            return True
        case Matches(pattern):
            return pattern.isascii() and not any(sign in pattern for sign in OPEN_SIGNS)
        case _:
            return False


def _is_label(column: Column) -> bool:
    closed = any(isinstance(rule, OneOf | Matches) for rule in column.rules)
    return column.type == "text" and bool(column.rules) and not closed and column.privacy != "free_text"
