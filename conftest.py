"""What holds for tests and doctests: no network, and no kernel for GPUs without Triton."""

import os
import sys
from importlib.util import find_spec
from pathlib import Path

collect_ignore = [] if find_spec("triton") else ["src/skymask/masks/kernel_triton.py"]

OFFLINE = str(Path(__file__).parent / "tests" / "offline")
sys.path.append(OFFLINE)
# the processes that tests start keep to it, too, by the file sitecustomize.py there
os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [OFFLINE, os.environ.get("PYTHONPATH")]))

import no_network  # noqa: E402, F401
