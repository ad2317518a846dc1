"""A device with little memory."""

import torch

TORCH = (
    "CUDA out of memory. Tried to allocate 2.50 GiB. GPU 0 has a total capacity of 23.6 GiB of "
    "which 1.20 GiB is free. Process 4711 has 22.4 GiB memory in use. If reserved but unallocated "
    "memory is large try setting PYTORCH_ALLOC_CONF=expandable_segments:True. See documentation"
)


class Device:
    """Memory for ``least`` things at once; ``asked`` are the sizes that were tried."""

    def __init__(self, least):
        self.least, self.asked = least, []

    def take(self, size):
        self.asked.append(size)
        if size > self.least:
            raise torch.cuda.OutOfMemoryError(TORCH)
