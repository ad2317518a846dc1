# Output in the terminal while jobs run, and at the end.
import functools
import time

from skymask.jobs import monitor, slurm, slurm_queue  # noqa: E402

MONITORS = []
STARTED = time.monotonic()


def start_monitor():
    """Show the progress of the jobs that are going to run."""
    planned = [monitor.Job(*job) for job in internals.planned_jobs(workflow)]
    run_line = functools.partial(console.run_line, STUDY)
    on_slurm = internals.runs_jobs_elsewhere(workflow) and slurm.available()
    queue = slurm_queue.Watch(Path.cwd(), time.monotonic) if on_slurm else None
    shown = monitor.Monitor(planned, len(RUNS), run_line, queue=queue)
    MONITORS.append(shown.start())


def end_monitor():
    """Remove the progress bar and list the failed jobs."""
    for shown in MONITORS:
        shown.end()


def print_cost():
    """Print the cost of a complete study."""
    if all(map(os.path.exists, collected("timings"))):
        print(console.cost_line(STUDY, time.monotonic() - STARTED))
