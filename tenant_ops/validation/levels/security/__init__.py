"""Security level: can anybody reach this tenant's data who should not, or do more than meant?

By theme: rights (`grants.py`), roles (`roles.py`), functions (`functions.py`), what joins tenants
(`crossings.py`), row security (`row_security.py`), credentials and connections (`credentials.py`), personal
data and secrets in values (`values.py`). The measure is what provisioning makes (`tenants/provisioning.py`).
What the catalogs say is read for a whole batch of tenants at once (`facts.py`). Not here: what logins did
(`audit/`).
"""

from tenant_ops.validation.levels.security.credentials import CREDENTIAL_RULES
from tenant_ops.validation.levels.security.crossings import CROSSING_RULES
from tenant_ops.validation.levels.security.functions import FUNCTION_RULES
from tenant_ops.validation.levels.security.grants import GRANT_RULES
from tenant_ops.validation.levels.security.roles import ROLE_RULES
from tenant_ops.validation.levels.security.row_security import ROW_SECURITY_RULES
from tenant_ops.validation.levels.security.values import VALUE_RULES
from tenant_ops.validation.rules import Rule

SECURITY_RULES: tuple[Rule, ...] = (
    *GRANT_RULES,
    *ROLE_RULES,
    *FUNCTION_RULES,
    *CROSSING_RULES,
    *ROW_SECURITY_RULES,
    *CREDENTIAL_RULES,
    *VALUE_RULES,
)
