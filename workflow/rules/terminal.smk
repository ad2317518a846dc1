# Output in the terminal while jobs run, and at the end.
import functools
import time

from skymask.jobs import monitor  # noqa: E402

MONITORS = []
STARTED = time.monotonic()


def start_monitor():
    """Show the progress of the jobs that are going to run."""
    planned = [monitor.Job(*job) for job in internals.planned_jobs(workflow)]
    run_line = functools.partial(console.run_line, STUDY)
    MONITORS.append(monitor.Monitor(planned, len(RUNS), run_line).start())


def end_monitor():
    """Remove the progress bar and list the failed jobs."""
    for shown in MONITORS:
        shown.end()


def print_cost():
    """Print the cost of a complete study."""
    if all(map(os.path.exists, collected("timings"))):
        print(console.cost_line(STUDY, time.monotonic() - STARTED))
