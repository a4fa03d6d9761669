"""Functions that run with more rights than their caller, or outside the database's rules.

Not here: who may call them (`grants.py`), what they reach in other schemas (`crossings.py`).
"""

from collections.abc import Iterator

from tenant_ops.validation.evidence import Evidence
from tenant_ops.validation.levels.security.facts import functions
from tenant_ops.validation.rules import Rule, Sighting, rule


@rule(
    level="security",
    severity="error",
    remediation="ALTER FUNCTION ... SET search_path = ..., pg_temp, or make it SECURITY INVOKER.",
)
def definer_functions(evidence: Evidence) -> Iterator[Sighting]:
    """A function that runs with its owner's rights pins its search path, temporary tables last.

    Where pg_temp is not named Postgres looks there first, and every caller can make temporary tables.
    """
    for function in evidence.told(functions):
        if not function.definer:
            continue
        path = next((one for one in function.settings if one.startswith("search_path=")), None)
        subject = f"function {function.name}"
        if path is None:
            yield Sighting(
                subject, f"{function.name} is SECURITY DEFINER and takes its caller's search path."
            )
        elif path.rpartition(",")[2].strip(' "') != "pg_temp":
            message = (
                f"{function.name} is SECURITY DEFINER and does not name pg_temp last in its search path."
            )
            yield Sighting(subject, message)


@rule(
    level="security",
    severity="critical",
    remediation="Drop it, or write it in a trusted language (sql, plpgsql).",
)
def untrusted_functions(evidence: Evidence) -> Iterator[Sighting]:
    """No function is in a language that reaches the server's files and memory."""
    for function in evidence.told(functions):
        if not function.trusted:
            message = f"{function.name} is in the untrusted language {function.language}."
            yield Sighting(f"function {function.name}", message)


FUNCTION_RULES: tuple[Rule, ...] = (definer_functions, untrusted_functions)
