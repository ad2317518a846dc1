"""Interrupted and terminated jobs: no traceback, and nothing drops the interrupt."""

import ast
import ctypes
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import skymask
from skymask.jobs import interrupts

SCRIPTS = Path(__file__).parents[2] / "workflow" / "scripts"
SOURCE = Path(skymask.__file__).parents[1]
DEADLINE = 600

# sends the signal when a module is imported other than those that take the signals
SENT_AT_IMPORT = """
import importlib.abc, os, signal, sys, time
class Sender(importlib.abc.MetaPathFinder):
    def find_spec(self, name, *_):
        early = ("skymask", "skymask.jobs", "skymask.jobs.script", "skymask.jobs.interrupts")
        if name.startswith("skymask") and name not in early:
            os.kill(os.getpid(), {number})
            time.sleep(600)
sys.meta_path.insert(0, Sender())
"""


def run(code):
    return subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": str(SOURCE)},
        capture_output=True,
        text=True,
        timeout=DEADLINE,
    )


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("script", sorted(path.stem for path in SCRIPTS.glob("*.py")))
def test_a_script_that_is_interrupted_while_it_imports_ends_silently(script, number):
    code = SENT_AT_IMPORT.format(number=int(number)) + (SCRIPTS / f"{script}.py").read_text()
    done = run(code)
    assert (done.returncode, done.stdout, done.stderr) == (interrupts.EXIT_CODE, "", "")


def test_every_script_takes_its_interrupts_first():
    for path in SCRIPTS.glob("*.py"):
        imports = [
            name
            for node in ast.parse(path.read_text()).body
            for name in (
                [alias.name for alias in node.names]
                if isinstance(node, ast.Import)
                else [node.module]
                if isinstance(node, ast.ImportFrom)
                else []
            )
        ]
        assert set(imports[: imports.index("skymask.jobs.script")]) <= sys.stdlib_module_names


def test_a_signal_that_is_ignored_stays_ignored():
    ignore = "import os, signal\nsignal.signal(signal.SIGINT, signal.SIG_IGN)\n"
    kill = "os.kill(os.getpid(), signal.SIGINT)\n"
    assert run(f"{ignore}import skymask.jobs.script\n{kill}print('on')").stdout == "on\n"
    within = (
        f"from skymask.jobs import interrupts\nwith interrupts.raised():\n    {kill}print('on')"
    )
    assert run(ignore + within).stdout == "on\n"


def wait_for_an_exception():
    end = time.monotonic() + DEADLINE
    while time.monotonic() < end:
        time.sleep(0.01)


@pytest.mark.parametrize(
    ("number", "error"), [(signal.SIGINT, KeyboardInterrupt), (signal.SIGTERM, SystemExit)]
)
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_an_interrupt_in_a_function_called_from_c_is_not_lost(number, error):
    begun, before = [], {n: signal.getsignal(n) for n in (number, signal.SIGALRM)}

    @ctypes.CFUNCTYPE(None)
    def called_from_c():
        os.kill(os.getpid(), number)
        begun.append(True)

    def block():
        called_from_c()
        # Python has dropped the first exception
        wait_for_an_exception()

    with pytest.raises(error), interrupts.raised() as interrupt:
        block()
    assert interrupt.name == signal.Signals(number).name
    assert not begun
    assert {n: signal.getsignal(n) for n in before} == before
    assert signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0)


def test_no_further_signal_disturbs_the_cleanup(monkeypatch):
    monkeypatch.setattr(interrupts, "AGAIN", 0.001)
    steps, alarms = [], []

    def clean():
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGTERM)
        again = signal.getsignal(signal.SIGALRM)
        signal.signal(signal.SIGALRM, lambda *given: (alarms.append(1), again(*given)))
        while len(alarms) < 3:
            time.sleep(0.001)
        steps.append("cleaned")

    class Context:
        def __enter__(self):
            return self

        def __exit__(self, *_):
            clean()

    def block():
        try:
            with Context():
                os.kill(os.getpid(), signal.SIGINT)
                wait_for_an_exception()
        finally:
            clean()

    with pytest.raises(KeyboardInterrupt), interrupts.raised() as interrupt:
        block()
    assert interrupt.name == "SIGINT"
    assert steps == ["cleaned", "cleaned"]
