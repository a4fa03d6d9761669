"""The validation report as a document: HTML and Markdown for people, JUnit for build servers.

JSON is the report itself (`platform/reports.py`), whose `schema` names its form.
"""

from tenant_ops.validation.documents.html import html
from tenant_ops.validation.documents.junit import junit
from tenant_ops.validation.documents.markdown import markdown
from tenant_ops.validation.documents.saving import save_html

__all__ = ["html", "junit", "markdown", "save_html"]
