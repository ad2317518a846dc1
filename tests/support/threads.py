"""The same work with another number of torch's threads."""

import torch


def with_threads(work, counts=(1, 2, 3)):
    """What ``work()`` gives with each of these numbers of threads."""
    before, found = torch.get_num_threads(), []
    try:
        for threads in counts:
            torch.set_num_threads(threads)
            found.append(work())
            assert torch.get_num_threads() == threads
    finally:
        torch.set_num_threads(before)
    return found
