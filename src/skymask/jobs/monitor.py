"""What the terminal shows while Snakemake works: a bar of rounds, a line per run, what failed.

Snakemake says several lines of each of its jobs; a study has thousands of these.  In their place
this shows one bar over the rounds of the call, a line for every run that is finished, and for every
job that fails its error or the last lines of its log.  Snakemake's own log file keeps everything.
"""

import logging
import os
import re
import sys
import threading
import time
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

from tqdm import tqdm

from skymask.jobs.log import CALL, JobLog, read_log
from skymask.jobs.progress import BAR, last_round, meter

TICK = 1.0
"""Seconds between two looks at the logs of running jobs."""

QUIET_TICK = 30.0
"""Seconds between two lines where output is kept in a file."""

TAIL = 8
"""Lines shown of the log of a job that ended without a word."""

_CHATTER = ("Select jobs to execute", "Execute ", "Trying to restart job", "RuleException:")
_EVENTS = ("progress", "job_finished")
_TERMINATING = "Terminating processes on user request"
_AGAIN = re.compile(r"Trying to restart job (\d+)")


@dataclass
class Job:
    """One job of Snakemake: its rule, its wildcards, and its log if it has one."""

    rule: str
    wildcards: Mapping[str, str]
    log: Path | None

    @property
    def rounds(self) -> tuple[int, int] | None:
        """First and last round that are done when the job is; ``None`` if it ends none."""
        if self.rule == "span":
            return int(self.wildcards["first"]), int(self.wildcards["last"])
        if self.rule == "aggregate":
            return int(self.wildcards["round"]), int(self.wildcards["round"])
        return None

    @property
    def name(self) -> str:
        """What a message calls the job."""
        values = [v for k, v in self.wildcards.items() if k not in ("first", "last", "round")]
        words = [self.rule, *values]
        if self.rounds:
            first, last = self.rounds
            words.append(f"round {first}" if first == last else f"rounds {first} to {last}")
        return " ".join(words)


class Terminal(logging.Handler):
    """Listens to Snakemake's log records and shows what a user wants to see of them.

    ``jobs`` are all of the call by their number, ``finished`` says in a line how a run ended (it is
    called with the run's name) and ``runs`` how many the study has; ``out`` is the terminal.  Its
    own errors never reach the workflow.
    """

    def __init__(
        self,
        jobs: Mapping[int, Job],
        runs: int,
        finished: Callable[[str], str],
        out: TextIO | None = None,
    ) -> None:
        super().__init__()
        self._jobs, self._runs, self._finished = jobs, runs, finished
        self._out = out or sys.stderr
        self._begun = time.monotonic()
        self._running: dict[int, Job] = {}
        self._rounds = 0
        self._runs_done = runs - sum(job.rule == "collect" for job in jobs.values())
        self.failed: dict[int, Job] = {}
        self._stopped = False
        total = sum(map(_length, jobs.values()))
        # a terminal that does not know its width shows no bar
        self._live = self._out.isatty() and os.get_terminal_size(self._out.fileno()).columns > 0
        self._bar = tqdm(
            total=total,
            file=self._out,
            disable=not (self._live and total),
            dynamic_ncols=True,
            bar_format=BAR,
            unit=" rounds",
            smoothing=0,
            leave=False,
        )
        self._total, self._ended = total, threading.Event()
        self._ticker = threading.Thread(target=self._tick, daemon=True)

    def start(self) -> "Terminal":
        """Begin to listen and to show; jobs that begin from now on belong to this call."""
        os.environ[CALL] = uuid.uuid4().hex
        logger = logging.getLogger("snakemake.logging")
        for handler in logger.handlers:
            if handler.get_name() == "DefaultStreamHandler":
                handler.addFilter(self._passes)
        logger.addHandler(self)
        self._ticker.start()
        return self

    def end(self) -> None:
        """Stop, with the bar off the screen and the failed jobs listed once more."""
        self._ended.set()
        self._ticker.join(timeout=5)
        with self.lock or threading.RLock():
            self._bar.close()
            if self._stopped:
                self._say("\nstopped: nothing that was finished is lost; the same command goes on")
            elif self.failed:
                count = len(self.failed)
                jobs = "1 job" if count == 1 else f"{count} jobs"
                lines = [f"  {job.name}\n{_why(job, tail=0)}" for job in self.failed.values()]
                self._say(
                    f"\n{jobs} failed, and what rests on them was left out; once the cause is "
                    "mended, the same command goes on:\n" + "\n".join(lines)
                )

    def emit(self, record: logging.LogRecord) -> None:
        """Take note of a job that begins, ends or fails."""
        try:
            self._note(record)
        except Exception:
            # what is shown must not stop what is computed
            self.handleError(record)

    def _note(self, record: logging.LogRecord) -> None:
        event = str(getattr(getattr(record, "event", None), "value", ""))
        if event == "job_info":
            number = int(record.__dict__["jobid"])
            if number in self._jobs:
                self._running[number] = self._jobs[number]
        elif event == "job_finished":
            self._end_of(int(record.__dict__["job_id"]))
        elif event == "job_error":
            number = int(record.__dict__["jobid"])
            job = self._running.pop(number, None) or self._jobs.get(number)
            if job is None:
                return
            first = number not in self.failed
            self.failed[number] = job
            if first and not self._stopped:
                self._say(f"\nfailed: {job.name}\n{_why(job, tail=TAIL)}")
        elif record.getMessage().startswith(_TERMINATING):
            self._stopped = True
        elif found := _AGAIN.match(record.getMessage()):
            job = self.failed.get(int(found[1]))
            said = _said(job) if job else None
            if job and (said is None or said.may_pass):
                self._say(f"    {job.name} is tried once more")

    def _end_of(self, number: int) -> None:
        """Count a job that is done, and say so of a run."""
        job = self._running.pop(number, None)
        self.failed.pop(number, None)
        if job is None:
            return
        self._rounds += _length(job)
        if job.rule == "collect":
            self._runs_done += 1
            line = self._finished(job.wildcards["run"])
            self._say(f"{line} ({self._runs_done} of {self._runs} runs)")
        self._show()

    def _passes(self, record: logging.LogRecord) -> bool:
        """Whether Snakemake's own line is shown; the bar makes room for it."""
        event = str(getattr(getattr(record, "event", None), "value", ""))
        if event in _EVENTS or record.getMessage().startswith(_CHATTER):
            return False
        with self.lock or threading.RLock():
            self._bar.clear()
        return True

    def _say(self, text: str) -> None:
        with tqdm.external_write_mode(file=self._out, nolock=False):
            self._out.write(text + "\n")
            self._out.flush()

    def _tick(self) -> None:
        while not self._ended.wait(TICK if self._live else QUIET_TICK):
            with self.lock or threading.RLock():
                if self._live:
                    self._show()
                elif self._total:
                    done, elapsed = self._done(), time.monotonic() - self._begun
                    self._say(meter(min(done, self._total), self._total, elapsed))

    def _show(self) -> None:
        if not self._bar.disable:
            self._bar.n = min(self._done(), self._total)
            self._bar.refresh()

    def _done(self) -> int:
        """Rounds of this call that are done, by the logs of running jobs too."""
        done = self._rounds
        for job in self._running.values():
            if job.rule == "span" and job.rounds and job.log:
                log = read_log(job.log)
                at = last_round(job.log) if log and log.call == os.environ.get(CALL) else None
                done += max((at or 0) - job.rounds[0] + 1, 0)
        return done


def _length(job: Job) -> int:
    return job.rounds[1] - job.rounds[0] + 1 if job.rounds else 0


def _why(job: Job, tail: int) -> str:
    """Why a job failed: its error, else the last lines of its log, and where that lies."""
    said = _said(job)
    if said:
        return f"    {said.sentence}\n    log: {job.log}"
    lines = ["    it ended without a word: killed, perhaps for want of memory"]
    if job.log and job.log.exists():
        text = job.log.read_text(encoding="utf-8", errors="replace").splitlines()
        lines += [f"    | {line}" for line in text[-tail:]] if tail else []
        lines.append(f"    log: {job.log}")
    return "\n".join(lines)


def _said(job: Job) -> JobLog | None:
    """The error that a job of this call logged; ``None`` if it ended without a word."""
    found = read_log(job.log) if job.log else None
    ours = found is not None and found.call == os.environ.get(CALL)
    return found if found and ours and found.state == "failed" else None


def jobs_of(dag: Any) -> dict[int, Job]:
    """The jobs that a DAG of Snakemake is going to run, by their number."""
    return {
        dag.jobid(job): Job(
            job.rule.name,
            dict(job.wildcards_dict),
            Path(str(job.log[0])) if job.log else None,
        )
        for job in dag.needrun_jobs()
    }
