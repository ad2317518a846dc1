"""Progress bar, finished runs and failed jobs on the terminal.

Snakemake writes several lines about each of its jobs, and a study has thousands.  Instead, this
shows one bar over the rounds, a line for each finished run, and the error of each failed job, or
the last lines of its log.  Snakemake's ``--show-failed-logs`` would show whole logs, with their
tracebacks and progress, and the dozens of files of each job.
"""

import logging
import os
import sys
import threading
import time
import uuid
from collections.abc import Callable, Collection, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

from tqdm import tqdm

from skymask.jobs import causes, slurm_ends, slurm_queue
from skymask.jobs import snakemake_internals as internals
from skymask.jobs.log import CALL
from skymask.jobs.progress import BAR, last_round, meter

TICK = 1.0
"""Seconds between two looks at the logs of running jobs."""

QUIET_TICK = 30.0
"""Seconds between two lines where the output is no terminal."""


@dataclass(frozen=True)
class Job:
    """A job of Snakemake: its rule, its wildcards, and its log if it has one."""

    rule: str
    wildcards: Mapping[str, str]
    log: Path | None = None

    @property
    def rounds(self) -> range:
        """The rounds that are done when the job is."""
        if self.rule == "span":
            return range(int(self.wildcards["first"]), int(self.wildcards["last"]) + 1)
        if self.rule == "aggregate":
            return range(int(self.wildcards["round"]), int(self.wildcards["round"]) + 1)
        return range(0)

    @property
    def name(self) -> str:
        """The rule, the run and the rounds."""
        values = dict(self.wildcards)
        rounds = ""
        if "first" in values:
            rounds = f" rounds {values.pop('first')} to {values.pop('last')}"
        elif "round" in values:
            rounds = f" round {values.pop('round')}"
        return " ".join([self.rule, *values.values()]) + rounds


class Monitor(logging.Handler):
    """Shows what a user wants to see of Snakemake's log records.

    Its own errors never reach the workflow.

    Args:
        planned: All jobs that are going to run.
        runs: Number of runs of the study.
        finished: Returns the line for a finished run, from the run's name.
        out: The terminal; by default the standard error stream.
        queue: Explains why jobs wait in SLURM's queue, if they go there.
    """

    def __init__(
        self,
        planned: Collection[Job],
        runs: int,
        finished: Callable[[str], str],
        out: TextIO | None = None,
        queue: slurm_queue.Watch | None = None,
    ) -> None:
        super().__init__()
        self._runs, self._finished = runs, finished
        self._out = out or sys.stderr
        self._runs_done = runs - sum(job.rule == "collect" for job in planned)
        self._rounds, self._total = 0, sum(len(job.rounds) for job in planned)
        self._begun = time.monotonic()
        self._running: dict[int, Job] = {}
        self._failed: dict[int, tuple[Job, causes.Cause]] = {}
        # by the thread that reported them, for the failure that it reports next
        self._errors: dict[int | None, str] = {}
        self._slurm = slurm_ends.Ends()
        # processes that the kernel had killed when a job began
        self._oom_kills: dict[int, int | None] = {}
        self._stopped, self._ended = False, threading.Event()
        # a terminal that does not know its width shows no bar
        self._live = self._out.isatty() and os.get_terminal_size(self._out.fileno()).columns > 0
        self._bar = tqdm(
            total=self._total,
            file=self._out,
            disable=not (self._live and self._total),
            dynamic_ncols=True,
            bar_format=BAR,
            unit=" rounds",
            smoothing=0,
            leave=False,
        )
        self._ticker = threading.Thread(target=self._tick, daemon=True)
        self._queue = queue
        # not the ticker: SLURM may take long to answer
        self._watcher = threading.Thread(target=self._watch, daemon=True)

    def start(self) -> "Monitor":
        """Begin to show; jobs that begin from now on belong to this call."""
        os.environ[CALL] = uuid.uuid4().hex
        for handler in internals.stream_handlers():
            handler.addFilter(self.passes)
        logging.getLogger("snakemake.logging").addHandler(self)
        self._ticker.start()
        self._watcher.start()
        return self

    def end(self) -> None:
        """Remove the bar and list the failed jobs."""
        self._ended.set()
        self._ticker.join(timeout=5)
        self._bar.close()
        if self._stopped:
            self._show("\nstopped: finished jobs are kept; run the same command again to continue")
        elif self._failed:
            count = "1 job" if len(self._failed) == 1 else f"{len(self._failed)} jobs"
            jobs = [f"  {job.name}\n{why.text(tail=False)}" for job, why in self._failed.values()]
            self._show(
                f"\n{count} failed, and the jobs that depend on them were skipped; fix the cause "
                "and run the same command again:\n" + "\n".join(jobs)
            )

    def passes(self, record: logging.LogRecord) -> bool:
        """Return whether Snakemake's own line is shown; the bar makes room for it."""
        chatter = record.getMessage().startswith(internals.CHATTER)
        if chatter or internals.event(record) in ("progress", "job_finished"):
            return False
        if internals.event(record) == "error" and internals.job_error(record):
            return False
        self._bar.clear()
        return True

    def emit(self, record: logging.LogRecord) -> None:
        """Take note of a job that begins, ends or fails."""
        try:
            event = internals.event(record)
            if event == "job_info":
                self._begins(record)
            elif event == "job_finished":
                self._ends(record.__dict__["job_id"])
            elif error := internals.job_error(record):
                self._fails(error, self._errors.pop(record.thread, ""))
            elif event == "error":
                self._errors[record.thread] = record.getMessage()
            elif record.getMessage().startswith(internals.TERMINATING):
                self._stopped = True
        except Exception:
            # what is shown must not stop what is computed
            self.handleError(record)

    def _begins(self, record: logging.LogRecord) -> None:
        values = record.__dict__
        log = Path(values["log"][0]) if values["log"] else None
        job = Job(values["rule_name"], values["wildcards"], log)
        number = values["jobid"]
        self._running[number], self._oom_kills[number] = job, causes.oom_kills()
        if number in self._failed and self._failed[number][1].retry:
            self._show(f"    {job.name}: retrying")

    def _ends(self, number: int) -> None:
        job = self._running.pop(number)
        self._moved()
        self._oom_kills.pop(number, None)
        self._failed.pop(number, None)
        self._rounds += len(job.rounds)
        if job.rule == "collect":
            self._runs_done += 1
            line = self._finished(job.wildcards["run"])
            self._show(f"{line} ({self._runs_done} of {self._runs} runs)")
        self._refresh()

    def _fails(self, error: internals.JobError, text: str) -> None:
        job = self._running.pop(error.number)
        self._moved()
        if self._stopped:
            return
        before, now = self._oom_kills.pop(error.number), causes.oom_kills()
        killed = before is not None and now is not None and now > before
        why = causes.cause(job.rule, job.log, error, text, self._slurm, killed)
        known = self._failed.get(error.number)
        if known is None or known[1].sentence != why.sentence:
            self._show(f"\nfailed: {job.name}\n{why.text(tail=True)}")
        self._failed[error.number] = job, why

    def _show(self, text: str) -> None:
        tqdm.write(text, file=self._out)
        self._out.flush()

    def _tick(self) -> None:
        while not self._ended.wait(TICK if self._live else QUIET_TICK):
            if self._live:
                self._refresh()
            elif self._total:
                self._show(meter(self.done(), self._total, time.monotonic() - self._begun))

    def _watch(self) -> None:
        pause = TICK
        while self._queue and not self._ended.wait(pause):
            if not self._running:
                continue
            pause = slurm_queue.STILL
            # what is shown must not stop what is computed
            with suppress(Exception):
                text = self._queue.look()
                if text and not self._ended.is_set():
                    self._show(text)

    def _moved(self) -> None:
        if self._queue:
            self._queue.moved()

    def _refresh(self) -> None:
        self._bar.n = self.done()
        self._bar.refresh()

    def done(self) -> int:
        """Return how many rounds of this call are done, also by the logs of running jobs."""
        done = self._rounds
        for job in list(self._running.values()):
            if job.rule == "span" and job.log and causes.of_this_call(job.log):
                done += max((last_round(job.log) or 0) - job.rounds[0] + 1, 0)
        return min(done, self._total)
