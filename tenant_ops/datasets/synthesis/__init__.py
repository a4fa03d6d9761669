"""Sample data for any catalog: sound rows, lifelike where the definitions say how, equal for equal seeds.

Start at `files.py` (what can be asked for); `layout.py` and `rows.py` make rows from definitions,
`recipes.py` makes values look real, `faults.py` spoils a sound set in known places.
"""

from tenant_ops.datasets.synthesis.faults import Fault, corrupt
from tenant_ops.datasets.synthesis.files import (
    Chunk,
    GeneratedFile,
    SynthesisReport,
    generate,
    write_fixtures,
)
from tenant_ops.datasets.synthesis.shipped import write_shipped

__all__ = [
    "Chunk",
    "Fault",
    "GeneratedFile",
    "SynthesisReport",
    "corrupt",
    "generate",
    "write_fixtures",
    "write_shipped",
]
