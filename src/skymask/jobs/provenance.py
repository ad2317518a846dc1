"""What determines the files of each job: code, experiment, rounds, and all that comes before.

The provenance of a job is a mapping of plain values.  Its ``code`` is the fingerprint of the
modules and the script of its stage, its ``after`` a hash of the provenance of the jobs whose files
it reads.  So a change of code changes the provenance of just the jobs that depend on it, and a
file needs none of the files before it to tell whether it is current.
"""

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from skymask.jobs.fingerprint import fingerprint
from skymask.study.experiment import SCHEMA_VERSION, Experiment
from skymask.study.methods import modules_of
from skymask.study.registry import registry

Provenance = dict[str, Any]

MODULES: dict[str, tuple[str, ...]] = {
    "data": ("skymask.artifacts.samples",),
    "partition": ("skymask.data.partition",),
    "initialise": ("skymask.federation.federation",),
    "train": ("skymask.federation.train",),
    "attack": ("skymask.federation.attack",),
    "aggregate": ("skymask.federation.aggregate", "skymask.federation.records"),
    "evaluate": ("skymask.federation.evaluate", "skymask.federation.records"),
    "span": ("skymask.federation.rounds",),
    "collect": ("skymask.artifacts.records",),
    "collect_updates": ("skymask.artifacts.records",),
    "experiments": ("skymask.study.experiment",),
    "tables": ("skymask.reporting.table_files",),
    "figure": (),
    "overview": ("skymask.reporting.report",),
}
"""The modules of each stage, which its script calls."""

METHODS: dict[str, tuple[str, ...]] = {
    "train": ("attack",),
    "attack": ("attack",),
    "aggregate": ("defense",),
    "evaluate": ("attack",),
    "span": ("attack", "defense"),
}
"""The kinds of methods whose modules a stage needs in addition."""

CHAIN = ("initialise", "train", "attack", "aggregate")
"""The stages on which the next round depends, in their order."""


@dataclass(frozen=True)
class Stages:
    """The provenance of the jobs of a study.

    Attributes:
        script: Returns the script of a stage.
        staged: Whether each stage of each round is a job, instead of many rounds.
    """

    script: Callable[[str], Path]
    staged: bool

    def data(self, dataset: str) -> Provenance:
        """Return the provenance of the samples of a data set."""
        module = registry("skymask.data.datasets", "DATASETS")[dataset].module
        return self._made("data", [], modules=[module], dataset=dataset)

    def partition(self, run: Experiment) -> Provenance:
        """Return the provenance of the partition of a run."""
        before = [self.data(run.dataset)]
        return self._made("partition", before, partition=run.partition_id)

    def span(self, run: Experiment, first: int, last: int, keep_updates: list[int]) -> Provenance:
        """Return the provenance of the rounds ``first`` to ``last``, with the updates it keeps."""
        rounds = {"first": first, "last": last, "keep_updates": keep_updates}
        return {**self._rounds(run), **rounds}

    def stage(self, run: Experiment, name: str, round_: int) -> Provenance:
        """Return the provenance of a stage, also ``initialise``, of one round."""
        chain = CHAIN[: CHAIN.index(name)] if name in CHAIN else CHAIN
        # from round 2 on, a stage depends on all stages of the round before
        chain = CHAIN if round_ > 1 else chain
        before = [self._code(earlier, run) for earlier in chain]
        return self._made(name, [self.partition(run), *before], run, run=run.run, round=round_)

    def collected(self, run: Experiment, rounds: int) -> Provenance:
        """Return the provenance of the collected rows of a run."""
        return self._made("collect", [self._rounds(run)], run=run.run, rounds=rounds)

    def collected_updates(self, run: Experiment, keep_updates: list[int]) -> Provenance:
        """Return the provenance of the kept updates of a run."""
        before = [self._rounds(run, "attack")]
        return self._made("collect_updates", before, run=run.run, keep_updates=keep_updates)

    def of_study(
        self, stage: str, before: Iterable[Mapping[str, Any]], *modules: str, **facts: Any
    ) -> Provenance:
        """Return the provenance of the files of a study as a whole, as of its tables.

        Args:
            stage: ``"experiments"``, ``"tables"``, ``"figure"`` or ``"overview"``.
            before: The provenance of the jobs whose files it reads.
            modules: Modules of the package that it needs in addition to those of its stage.
            facts: What else determines it.
        """
        return self._made(stage, before, modules=modules, **facts)

    def _rounds(self, run: Experiment, stage: str = "evaluate") -> Provenance:
        """Return the provenance of what a ``stage`` makes in all rounds, in whatever jobs."""
        before = [self.partition(run)]
        if not self.staged:
            return self._made("span", before, run, run=run.run)
        before += [self._code(earlier, run) for earlier in CHAIN]
        return self._made(stage, before, run, run=run.run)

    def _code(self, stage: str, run: Experiment | None, modules: Iterable[str] = ()) -> Provenance:
        """Return the fingerprint of the code of a stage."""
        used = [
            module
            for kind in METHODS.get(stage, ())
            if run is not None
            for module in modules_of(kind, getattr(run, kind))
        ]
        code = fingerprint(*MODULES[stage], *used, *modules, script=self.script(stage))
        return {"stage": stage, "code": code}

    def _made(
        self,
        stage: str,
        before: Iterable[Mapping[str, Any]],
        run_code: Experiment | None = None,
        modules: Iterable[str] = (),
        **facts: Any,
    ) -> Provenance:
        text = json.dumps([*before], sort_keys=True)
        return {
            **self._code(stage, run_code, modules),
            **facts,
            "schema_version": SCHEMA_VERSION,
            "after": hashlib.sha256(text.encode()).hexdigest()[:12],
        }
