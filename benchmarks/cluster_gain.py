"""What two Gaussians gain over one on the masks of finished runs: the figure ``auto`` decides by.

    python benchmarks/cluster_gain.py [RESULTS]

reads the mask coordinates of all SkyMask runs below RESULTS (``results``) and prints, per data set
and attack, the least and the largest gain in BIC per row over all rounds and seeds.
"""

import json
import sys
from pathlib import Path

import pandas as pd

from skymask.artifacts import read_rows
from skymask.clusters import bic_gain, two_gaussians


def gains(run: Path) -> list[float]:
    """The gain in every round of a run."""
    clients = read_rows(run / "clients.parquet", "clients", run.name).to_pandas()
    found = []
    for _, rows in clients.groupby("round"):
        points = rows[["mask_1", "mask_2"]].dropna().to_numpy()
        points = points / points[:, 0].std()
        found.append(bic_gain(points, two_gaussians(points)))
    return found


def main() -> None:
    """Print the table."""
    results = Path(sys.argv[1] if len(sys.argv) > 1 else "results")
    rows = []
    for file in sorted(results.glob("runs/*/experiment.json")):
        run = json.loads(file.read_text())
        if run["defense"]["name"] == "skymask":
            for gain in gains(file.parent):
                rows.append((run["dataset"], run["clients"], run["attack"]["name"], gain))
    table = pd.DataFrame(rows, columns=["dataset", "clients", "attack", "gain"])
    groups = table.groupby(["dataset", "clients", "attack"])["gain"]
    print(groups.agg(rounds="size", least="min", median="median", largest="max").round(2))


if __name__ == "__main__":
    main()
