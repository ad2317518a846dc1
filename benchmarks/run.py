"""All benchmarks (`make bench`), or some of them.

    python benchmarks/run.py --only training masks --out results/bench

Each module ``speed_TOPIC.py`` next to this file has a function ``cases(device)`` that yields
:class:`measure.Case`.  Writes OUT.parquet and OUT.md.  Without a GPU its rows are listed as not
measured.
"""

import argparse
import gc
import importlib
from pathlib import Path

import pyarrow as pa
import torch
from measure import Row, in_markdown, machine, measure, write

TOPICS = ("training", "masks", "aggregation", "artifacts", "processes")

SCHEMA = pa.schema(
    [
        *[pa.field(name, pa.string()) for name in ("device", "topic", "setting")],
        *[pa.field(name, pa.string()) for name in ("contender", "baseline")],
        pa.field("repeats", pa.int32()),
        *[pa.field(f"seconds_{part}", pa.float64()) for part in ("min", "median", "max")],
        *[pa.field(f"ratio_{part}", pa.float64()) for part in ("min", "median", "max")],
        pa.field("target", pa.float64()),
        pa.field("note", pa.string()),
    ]
)


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", nargs="+", choices=TOPICS, default=TOPICS)
    parser.add_argument("--device", nargs="+", default=["cpu", "cuda"])
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--out", type=Path, default=Path("results/bench"))
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    rows: list[Row] = []
    for topic in arguments.only:
        module = importlib.import_module(f"speed_{topic}")
        for device in arguments.device:
            for case in module.cases(device):
                measured = measure(case, device)
                rows += measured
                for row in measured:
                    shown = row["ratio_median"] or float("nan")
                    print(f"{row['device']:5} {case.setting}: {row['contender']} {shown:.2f}")
                gc.collect()
    table = pa.Table.from_pylist(rows, schema=SCHEMA)
    facts = machine(arguments.threads)
    write(arguments.out, "Benchmarks", "\n".join(in_markdown(rows)), table, facts)


if __name__ == "__main__":
    main()
