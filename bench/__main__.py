"""`make bench`: every benchmark, one after the other, each in a process of its own.

`python -m bench quick` runs small sizes, to see that they work; the figures worth quoting come from the full
ones on a quiet machine. What each measures, and against whom, stands at the top of its module.
"""

import subprocess
import sys

# Module, arguments of a full run, arguments of a quick one.
BENCHMARKS: tuple[tuple[str, list[str], list[str]], ...] = (
    ("bench.provisioning", [], ["--quick"]),
    ("bench.loading", [], ["--rows", "50000", "--rounds", "1", "--peer-rows", "5000"]),
    (
        "bench.backups",
        [],
        ["--rows", "100000", "--rounds", "1", "--tenants", "100"],
    ),
    ("bench.journal", [], ["--quick"]),
    ("bench.validation", [], ["--rows", "50000", "--rounds", "1"]),
    ("bench.validation_fleet", [], ["--quick"]),
    ("bench.event_log", [], ["30", "1"]),
    ("bench.batches", [], ["20", "1"]),
)


def main(quick: bool) -> int:
    failed: list[str] = []
    for module, full, small in BENCHMARKS:
        print(f"\n=== {module}", flush=True)
        arguments = small if quick else full
        if subprocess.call([sys.executable, "-W", "ignore", "-m", module, *arguments]):
            failed.append(module)
    if failed:
        print(f"failed: {', '.join(failed)}", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main("quick" in sys.argv[1:]))
