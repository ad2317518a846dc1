# What the terminal shows while jobs run, and at the end.
import time

from skymask.jobs import monitor  # noqa: E402

SHOWN = []
STARTED = time.monotonic()


def show():
    """Take the terminal over from Snakemake."""
    found = monitor.jobs_of(workflow.dag)
    SHOWN.append(monitor.Terminal(found, len(RUNS), run_line).start())


def run_line(run):
    """What is said of a finished run."""
    # pandas and pyarrow come in when there is something to read
    from skymask.reporting import closing

    return closing.run_line(STUDY, run)


def close():
    """Give the terminal back, with what failed."""
    for shown in SHOWN:
        shown.end()


def print_cost():
    """What the study cost, once it is whole."""
    if all(map(os.path.exists, collected("timings"))):
        from skymask.reporting import closing

        print(closing.cost_line(STUDY, time.monotonic() - STARTED))
