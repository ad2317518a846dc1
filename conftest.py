"""Settings of tests and doctests: no network, one BLAS thread, no GPU kernel without Triton."""

import os
import sys
from importlib.util import find_spec
from pathlib import Path

collect_ignore = [] if find_spec("triton") else ["src/skymask/masks/kernel_triton.py"]

# the test processes use all cores; two BLAS threads for a 2 × 2 matrix take ten times as long
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

OFFLINE = str(Path(__file__).parent / "tests" / "offline")
sys.path.append(OFFLINE)
# processes that tests start import sitecustomize.py there, so they have no network either
os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [OFFLINE, os.environ.get("PYTHONPATH")]))

import no_network  # noqa: E402, F401
