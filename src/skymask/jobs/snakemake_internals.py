"""Uses of Snakemake internals, where it has no public interface.

``workflow`` is always the object of that name in a Snakefile.
tests/jobs/test_snakemake_internals.py runs every function, so that it names the one that a new
version of Snakemake breaks.
"""

import logging
import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

CHATTER = ("Select jobs to execute", "Execute ", "Trying to restart job", "RuleException:")
"""How Snakemake's messages about single jobs begin that are not events of their own."""

TERMINATING = "Terminating processes on user request"
"""How the message begins with which Snakemake answers Ctrl-C; there is no event for that."""

_WITHOUT_OUTPUT = re.compile(r"Job (\d+) +completed successfully, but some output files are")


def config_files(workflow: Any) -> list[str]:
    """List the files given by ``--configfile``, else those of the Snakefile.

    Why: the variable ``config`` does not tell where its values come from.
    """
    return [str(path) for path in workflow.overwrite_configfiles or workflow.configfiles]


def has_config_files(workflow: Any) -> bool:
    """Return whether the command line has ``--configfile``.

    Why: Snakemake merges such files into the one of the Snakefile, and a study stands alone.
    """
    return bool(workflow.overwrite_configfiles)


def config_overrides(workflow: Any) -> dict[str, Any]:
    """Return what ``--config`` sets on the command line.

    Why: ``config`` does not tell whether a value comes from there, and its lists come as text.
    """
    return dict(workflow.config_settings.config)


def with_prefix(workflow: Any, path: Path) -> Path:
    """Return ``path`` with the prefix that another workflow gives this one as its module.

    Why: Snakemake changes the paths of rules only, not those that the Snakefile reads itself.
    """
    return Path(str(workflow.modifier.modify_path(str(path))))


def is_main_process(workflow: Any) -> bool:
    """Return whether this is the Snakemake that the user started, not one inside a job.

    Why: only that one may remove locks.
    """
    return bool(workflow.is_main_process)


def runs_jobs_elsewhere(workflow: Any) -> bool:
    """Return whether jobs go to a cluster.

    Why: only the command line and the profile tell the executor.
    """
    return bool(workflow.non_local_exec)


def planned_jobs(workflow: Any) -> list[tuple[str, dict[str, str]]]:
    """List the rule and the wildcards of every job that is going to run.

    Why: the events of jobs come one by one, and a progress bar needs the whole.
    """
    jobs = workflow.dag.needrun_jobs()
    return [(job.rule.name, dict(job.wildcards_dict)) for job in jobs]


def adopt(workflow: Any, wildcards: set[str], is_current: Callable[[Path, Path], bool]) -> None:
    """Enter finished jobs into Snakemake's records that no main process saw finish.

    Only jobs with one of ``wildcards``, whose output and benchmark file ``is_current``.
    Why: cluster jobs that outlive their main process leave no record, and without one a later
    change of the code would not make their files outdated; ``--touch`` records all or nothing.
    """
    for job in workflow.dag.jobs:
        if (
            wildcards & set(job.wildcards_dict)
            and not workflow.dag.needrun(job)
            and not workflow.persistence.has_metadata(job)
            and os.path.exists(job.output[0])
            and is_current(Path(str(job.output[0])), Path(job.benchmark))
        ):
            workflow.async_run(workflow.persistence.finished(job))


def stream_handlers() -> list[logging.Handler]:
    """List the handlers that write Snakemake's messages to the terminal.

    Why: a logger plugin must be installed as a package and be named in a profile, but this
    workflow also runs from a plain copy of its folder.
    """
    logger = logging.getLogger("snakemake.logging")
    return [handler for handler in logger.handlers if handler.get_name() == "DefaultStreamHandler"]


def event(record: logging.LogRecord) -> str:
    """Return the name of the event of a log record, such as ``job_info``; empty without one.

    Why: an enumeration of snakemake-interface-logger-plugins, whose type differs between versions.
    """
    return str(getattr(getattr(record, "event", None), "value", ""))


@dataclass(frozen=True)
class JobError:
    """A failed job: its number, Snakemake's message, and what a cluster knows about it.

    ``cluster_job`` is the cluster's number of the job, and ``cluster_logs`` are the cluster's logs
    of it; both are empty for a job of this machine and for one that the cluster refused.
    """

    number: int
    message: str = ""
    cluster_job: str = ""
    cluster_logs: tuple[Path, ...] = ()


def job_error(record: logging.LogRecord) -> JobError | None:
    """Return the failed job of a log record; ``None`` for any other record.

    Why: the event of a failed job joins the logs of the rule with those of the cluster, and a job
    that ended without its output has no event of its own, only a sentence.
    """
    values = record.__dict__
    if event(record) == "job_error":
        logs = values.get("log") or []
        number = (values.get("aux") or {}).get("external_jobid")
        # the logs of the rule come first: this workflow has one in each rule that runs
        cluster_logs = tuple(Path(log) for log in logs[1:] if log)
        message = values.get("rule_msg") or ""
        return JobError(values["jobid"], message, str(number or ""), cluster_logs)
    if event(record) == "error" and values.get("exception") == "MissingOutputException":
        found = _WITHOUT_OUTPUT.search(record.getMessage())
        return JobError(int(found[1]), record.getMessage()) if found else None
    return None
