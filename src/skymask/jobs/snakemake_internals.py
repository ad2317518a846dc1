"""Uses of Snakemake internals, where it has no public interface.

``workflow`` is always the object of that name in a Snakefile.
tests/jobs/test_snakemake_internals.py runs every function, so that it names the one that a new
version of Snakemake breaks.
"""

import logging
import re
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Mapping
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


def decide_by(
    workflow: Any, is_current: Callable[[Path, Mapping[str, Any], list[Path]], bool]
) -> None:
    """Let files tell whether they are done, for rules with an output and a param ``provenance``.

    Such a job runs if a file of it is wanted (by the target, or by a job that runs) and is missing,
    or if ``is_current``, called with its output ``provenance``, its param of that name and its
    other outputs, is false.  So it does not run because a job before it does.  The answer takes the
    place of the trigger ``params``; the others, and marks of incomplete files, count for other
    rules only.
    Why: Snakemake's triggers compare times and its own records, which do not survive a copy.
    """
    if hasattr(workflow, "_skymask_prepare"):
        return
    workflow._skymask_prepare = workflow._prepare_dag

    def prepare_dag(*arguments: Any, **options: Any) -> None:
        workflow._skymask_prepare(*arguments, **options)
        _Decision(workflow, is_current).install()

    workflow._prepare_dag = prepare_dag


class _Decision:
    """Whether the jobs with a provenance run, in place of Snakemake's comparisons."""

    def __init__(self, workflow: Any, is_current: Callable[..., bool]) -> None:
        self._dag, self._records = workflow.dag, workflow.persistence
        self._is_current = is_current
        self._outdated: set[Any] = set()

    def install(self) -> None:
        """Replace methods of this DAG and these records, not of their classes."""
        records = self._records
        for name in ("input_changed", "code_changed", "software_stack_changed"):
            setattr(records, name, self._unless_decided(getattr(records, name), []))
        records.has_metadata = self._unless_decided(records.has_metadata, True)
        records.has_outdated_metadata = self._unless_decided(records.has_outdated_metadata, False)
        records.params_changed = self._params_changed(records.params_changed)
        records.incomplete = self._incomplete(records.incomplete)
        self._dag.update_needrun = self._update_needrun(self._dag.update_needrun)

    def _unless_decided(self, original: Callable[..., Any], answer: Any) -> Callable[..., Any]:
        return lambda job, *rest, **options: (
            answer if _has_provenance(job) else original(job, *rest, **options)
        )

    def _params_changed(self, original: Callable[..., Any]) -> Callable[..., Any]:
        from snakemake.persistence import ParamsChange

        def params_changed(job: Any, file: Any = None) -> Any:
            if not _has_provenance(job):
                return original(job, file=file)
            if job not in self._outdated:
                return ParamsChange()
            return ParamsChange(only_new={"provenance"}, files=set(job.output))

        return params_changed

    def _incomplete(self, original: Callable[..., Any]) -> Callable[..., Any]:
        async def incomplete(job: Any) -> list[Any]:
            return [] if _has_provenance(job) else list(await original(job))

        return incomplete

    def _update_needrun(self, original: Callable[..., Any]) -> Callable[..., Any]:
        async def update_needrun(create_inventory: bool = False) -> None:
            dag = self._dag
            await self._find_outdated()
            for job in filter(_has_provenance, dag.jobs):
                # the trigger code would compare the time of the script
                job.outputs_older_than_script_or_notebook = _none
            # each job decides for itself: its provenance covers the jobs before it
            every = dag.depending
            dag.depending = defaultdict(dict) | {
                job: {j: files for j, files in after.items() if not _has_provenance(j)}
                for job, after in every.items()
            }
            try:
                await original(create_inventory)
            finally:
                dag.depending = every

        return update_needrun

    async def _find_outdated(self) -> None:
        """Find the outdated jobs among those whose files are wanted, from the targets on."""
        dag, seen, current = self._dag, set(), {}
        forced = [job for job in dag.jobs if self._is_forced(job)]
        self._outdated = set(dag.bfs(dag.depending, *forced))
        # each job with those of its files that are wanted
        waiting = [
            (job, frozenset(dag.targetfiles.intersection(job.output) or job.output))
            for job in dag.targetjobs
        ]
        while waiting:
            job, files = waiting.pop()
            if (job, files) in seen:
                continue
            seen.add((job, files))
            if _has_provenance(job):
                if job not in current:
                    # where no file is there, it is not asked what would make it
                    exists = any([await file.exists() for file in job.output])
                    current[job] = exists and self._current(job)
                    if exists and not current[job]:
                        self._outdated.add(job)
                if current[job] and all([await file.exists() for file in files]):
                    continue
            waiting += [(before, frozenset(f)) for before, f in dag.dependencies[job].items()]

    def _is_forced(self, job: Any) -> bool:
        dag = self._dag
        return job.rule in dag.forcerules or not dag.forcefiles.isdisjoint(job.output)

    def _current(self, job: Any) -> bool:
        path = job.output.provenance
        others = [Path(str(file)) for file in job.output if file != path]
        try:
            return self._is_current(Path(str(path)), job.params.provenance, others)
        except OSError as error:
            from snakemake.exceptions import WorkflowError

            raise WorkflowError(f"Nothing was started: {error}") from error


async def _none() -> AsyncIterator[None]:
    """Yield nothing."""
    return
    yield


def _has_provenance(job: Any) -> bool:
    return hasattr(job.output, "provenance") and hasattr(job.rule.params, "provenance")


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
