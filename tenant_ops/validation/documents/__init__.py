"""The validation report as a document: HTML and Markdown for people, JUnit for build servers.

JSON is the report itself (`platform/reports.py`), whose `schema` names its form.
"""

from tenant_ops.validation.documents.html import html
from tenant_ops.validation.documents.junit import junit
from tenant_ops.validation.documents.markdown import markdown
from tenant_ops.validation.documents.saving import check_formats, save_report

__all__ = ["check_formats", "html", "junit", "markdown", "save_report"]
