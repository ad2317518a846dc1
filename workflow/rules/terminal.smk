# Output in the terminal while jobs run, and at the end.
import functools
import time

from skymask.jobs import monitor  # noqa: E402

SHOWN = []
STARTED = time.monotonic()


def show():
    """Take the terminal over from Snakemake."""
    found = monitor.jobs_of(workflow.dag)
    run_line = functools.partial(console.run_line, STUDY)
    SHOWN.append(monitor.Terminal(found, len(RUNS), run_line).start())


def close():
    """Give the terminal back, with what failed."""
    for shown in SHOWN:
        shown.end()


def print_cost():
    """Print the cost of a complete study."""
    if all(map(os.path.exists, collected("timings"))):
        print(console.cost_line(STUDY, time.monotonic() - STARTED))
