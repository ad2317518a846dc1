"""Comparison of candidates for `clusters: auto` on stored rounds.

    python benchmarks/cluster_decisions.py RUNS [--only PATTERN ...] [--every 2] [--details]

replays every decision over the matching runs of cluster_study.py below RUNS, in the order of the
rounds, and prints a Markdown table of FPR / FNR in per cent over the rounds after the fifth (with
``--every 2``, over every second of these): a row per decision, a column per attack over all runs,
and a column for the worst run.  With ``--details``, a row per run for the decision ``auto``.
"""

import argparse
import warnings
from collections import defaultdict
from collections.abc import Callable, Iterator
from fnmatch import fnmatch
from pathlib import Path

import numpy as np
import torch
from measure import markdown_header, markdown_row
from scipy.special import log_softmax
from sklearn.cluster import KMeans
from sklearn.metrics import silhouette_score

from skymask.masks import decision
from skymask.masks.gaussian_mixture import bic_gain, two_gaussians
from skymask.numerics.distances import squared_distances
from skymask.numerics.pca import principal_coordinates

Verdict = np.ndarray
FIRST = 5


class Round:
    """Data of one round; ``rows`` [n + 1, n + 1] are the masks up to a rotation."""

    def __init__(self, gram: np.ndarray, evidence: np.ndarray) -> None:
        values, vectors = np.linalg.eigh(gram.astype(float))
        self.rows = torch.from_numpy(vectors * np.sqrt(values.clip(0)))
        self.points = principal_coordinates(self.rows)[0].numpy()
        self.n, self.evidence = len(gram) - 1, evidence
        self.points = self.points / max(self.points[:, 0].std(), 1e-12)
        self.all = np.ones(self.n, dtype=bool)
        self.two = two_gaussians(self.points, own_covariance=True)
        self.pooled = two_gaussians(self.points)

    def server_side(self, fit: object) -> Verdict:
        """Return the clients in the server's cluster of a fit."""
        labels = fit.predict(self.points)
        return labels[:-1] == labels[-1]

    def split_if(self, condition: bool, fit: object | None = None) -> Verdict:
        """Return the server's cluster, under a condition."""
        return self.server_side(fit or self.two) if condition else self.all


def old_auto(seen: Round) -> Verdict:
    """Split if the BIC gain is 3 per row, or 6 with a common covariance."""
    needed = 3.0 if seen.pooled.covariance_type == "full" else 6.0
    return seen.split_if(bic_gain(seen.points, seen.pooled) >= needed, seen.pooled)


def silhouette(seen: Round) -> Verdict:
    """Split if the silhouette of the two clusters is above 0.6."""
    labels = seen.two.predict(seen.points)
    apart = 0 < labels.sum() < len(labels)
    return seen.split_if(apart and silhouette_score(seen.points, labels) > 0.6)


def ashman(seen: Round) -> Verdict:
    """Split if Ashman's D along the line through both means is above 4."""
    gap = seen.two.means_[1] - seen.two.means_[0]
    line = gap / max(np.linalg.norm(gap), 1e-12)
    widths = [line @ covariance @ line for covariance in seen.two.covariances_]
    return seen.split_if(np.linalg.norm(gap) * np.sqrt(2 / sum(widths)) > 4)


def gap_statistic(seen: Round) -> Verdict:
    """Apply the authors' earlier rule: k = 1 … 9, ten uniform references, two clusters if k ≠ 1."""
    chance = np.random.default_rng(0)
    low, high = seen.points.min(axis=0), seen.points.max(axis=0)
    boxes = [chance.uniform(low, high, seen.points.shape) for _ in range(10)]

    def inertia(points: np.ndarray, k: int) -> float:
        return np.log(KMeans(k, n_init=1, random_state=0).fit(points).inertia_ + 1e-12)

    gaps, errors = [], []
    for k in range(1, min(9, len(seen.points) - 1) + 1):
        references = [inertia(box, k) for box in boxes]
        gaps.append(np.mean(references) - inertia(seen.points, k))
        errors.append(np.std(references) * np.sqrt(1.1))
    settled = [k for k in range(len(gaps) - 1) if gaps[k] >= gaps[k + 1] - errors[k + 1]]
    return seen.split_if(not settled or settled[0] != 0)


def copies_and_shape(seen: Round) -> Verdict:
    """Apply `auto` without the root data."""
    return decision.verdict(seen.rows) > 0.5


def copies(seen: Round) -> Verdict:
    """Apply the first test of `auto` alone."""
    return ~decision.coincident(squared_distances(seen.rows).numpy())


def harm(seen: Round) -> Verdict:
    """Apply the third test of `auto` alone."""
    return ~decision.harmful(seen.evidence)


def auto(seen: Round) -> Verdict:
    """Apply `auto` as the package has it."""
    return decision.verdict(seen.rows, torch.from_numpy(seen.evidence)) > 0.5


DECISIONS: dict[str, Callable[[Round], Verdict]] = {
    "always two": lambda seen: seen.server_side(seen.two),
    "gap statistic": gap_statistic,
    "silhouette > 0.6": silhouette,
    "Ashman's D > 4": ashman,
    "BIC, 3 per row": old_auto,
    "copies": copies,
    "copies, shape": copies_and_shape,
    "harm": harm,
    "auto": auto,
}


def evidence(arrays: dict[str, np.ndarray]) -> Iterator[np.ndarray]:
    """Yield per round the decayed means of ``decision.evidence``, from the stored outputs."""
    n, labels = len(arrays["malicious"]), arrays["labels"]
    total, weight = np.zeros((n, 2)), 0.0
    for outputs, gram in zip(arrays["logits"], arrays["updates"], strict=True):
        centred = outputs.astype(float) - outputs.astype(float).mean(axis=1, keepdims=True)
        chosen = log_softmax(centred, axis=2)[:, np.arange(len(labels)), labels]
        losses = -chosen.mean(axis=1)
        drops = (losses[-1] - losses[:n]).clip(-decision.LARGEST_HARM)
        lengths = np.sqrt(np.diag(gram)) + 1e-300
        now = np.stack([drops, gram[:n, n] / lengths[:n] / lengths[n]], axis=1)
        total, weight = decision.EVIDENCE_DECAY * total + now, decision.EVIDENCE_DECAY * weight + 1
        yield total / weight


def replay(file: Path, decisions: list[str], every: int) -> dict[str, np.ndarray]:
    """Return the counts of :func:`count` by decision, over the rounds of one file."""
    with np.load(file) as stored:
        arrays = {key: stored[key] for key in ("malicious", "labels", "logits", "updates")}
        grams, malicious = stored["masks"][:, 1], stored["malicious"]
    counts = {name: np.zeros(4) for name in decisions}
    for round_, known in enumerate(evidence(arrays)):
        if round_ < FIRST or (round_ - FIRST) % every:
            continue
        seen = Round(grams[round_], known)
        for name in decisions:
            counts[name] += count(DECISIONS[name](seen), malicious)
    return counts


def count(accepted: np.ndarray, malicious: np.ndarray) -> np.ndarray:
    """Return the number of rejected benign, benign, accepted malicious and malicious clients.

    Args:
        accepted: verdicts [..., n].
        malicious: who is malicious [n].
    """
    malicious = np.broadcast_to(malicious, accepted.shape)
    groups = (~accepted & ~malicious, ~malicious, accepted & malicious, malicious)
    return np.array([group.sum() for group in groups])


def rates(counts: np.ndarray) -> str:
    """Return FPR / FNR in per cent from the counts of :func:`count`."""
    fpr = 100 * counts[0] / max(counts[1], 1)
    return f"{fpr:.1f}" + (f" / {100 * counts[2] / counts[3]:.1f}" if counts[3] else "")


def main() -> None:
    """Print the tables."""
    warnings.filterwarnings("ignore")
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("runs", type=Path)
    parser.add_argument("--only", nargs="+", default=["*"])
    parser.add_argument("--every", type=int, default=1)
    parser.add_argument("--decisions", nargs="+", default=list(DECISIONS))
    parser.add_argument("--details", action="store_true")
    options = parser.parse_args()
    files = [
        file
        for file in sorted(options.runs.glob("*.npz"))
        if any(fnmatch(file.stem, pattern) for pattern in options.only)
    ]
    cells = {name: defaultdict(lambda: np.zeros(4)) for name in options.decisions}
    worst = {name: (-1.0, "") for name in options.decisions}
    for file in files:
        for name, counts in replay(file, options.decisions, options.every).items():
            cells[name][file.stem.split("_")[3]] += counts
            errors = 100 * max(counts[0] / max(counts[1], 1), counts[2] / max(counts[3], 1))
            worst[name] = max(worst[name], (errors, f"{file.stem}: {rates(counts)}"))
            if options.details:
                print(markdown_row((name, file.stem, rates(counts))), flush=True)
    attacks = sorted({attack for row in cells.values() for attack in row})
    print(f"{len(files)} runs\n\n{markdown_header(['decision', *attacks, 'worst run'])}")
    for name, row in cells.items():
        print(markdown_row([name, *(rates(row[attack]) for attack in attacks), worst[name][1]]))


if __name__ == "__main__":
    main()
