"""Work repeated with different numbers of threads."""

import torch


def with_threads(work, counts=(1, 2, 3)):
    """Results of ``work()`` with each of these numbers of threads."""
    before, results = torch.get_num_threads(), []
    try:
        for threads in counts:
            torch.set_num_threads(threads)
            results.append(work())
            assert torch.get_num_threads() == threads
    finally:
        torch.set_num_threads(before)
    return results
