"""What pytest leaves alone: the kernel for GPUs where there is no Triton to import."""

from importlib.util import find_spec

collect_ignore = [] if find_spec("triton") else ["src/skymask/mask_kernel_triton.py"]
