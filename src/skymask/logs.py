"""The log of a job, and the one sentence of an error on the terminal.

Imports nothing but the standard library: every script of the workflow begins here.
"""

import os
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def logged(path: str) -> Iterator[None]:
    """Send all output of the job to its log file, and of an error one sentence to the terminal.

    The log gets the traceback; the job then ends with exit code 1.
    """
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    terminal = os.dup(2)
    with open(path, "w", buffering=1, encoding="utf-8") as log:
        sys.stdout.flush()
        sys.stderr.flush()
        os.dup2(log.fileno(), 1)
        os.dup2(log.fileno(), 2)
        try:
            yield
        except Exception as error:
            traceback.print_exc()
            sentence = f"\n{type(error).__name__}: {error}\n(traceback in {path})\n\n"
            os.write(terminal, sentence.encode())
            sys.exit(1)
        finally:
            os.close(terminal)
