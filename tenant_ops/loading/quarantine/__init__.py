"""The quarantine: rows that were left out of a load, kept until somebody has decided about them.

`entries.py` writes them and sums them up, `review.py` lists them, `exporting.py` writes them to files,
`repair.py` changes what is wrong with them, `replay.py` loads them again, `dropping.py` removes them in a way
that can be undone.
"""

from tenant_ops.loading.quarantine.entries import BadRow, Findings, Quarantine, discard, findings

__all__ = ["BadRow", "Findings", "Quarantine", "discard", "findings"]
