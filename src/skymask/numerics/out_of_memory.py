"""Smaller pieces, then a clear error, when device memory runs out.

Pieces of fixed sizes (clients trained together, columns of masks, samples evaluated) fit into an
ordinary GPU. Where one does not, because the GPU is small or shared, it is halved again and again,
down to one. The results are those of the whole piece as far as its work does not depend on the
other items in it: to the bit for columns, unless a piece is shorter than a vector register, and up
to rounding for clients and samples, whose products a device may sum in another order.
"""

import logging
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from typing import TypeVar

import torch

R = TypeVar("R")

_LOG = logging.getLogger(__name__)


class DeviceMemoryError(torch.OutOfMemoryError):
    """The smallest piece does not fit; the message names stage, device, request and remedies."""


def with_halving(work: Callable[[slice], R], whole: slice, what: str) -> list[R]:
    """Run ``work`` on a slice, or on its halves where memory is short.

    ``work`` runs again after a failure, so it must change nothing until it is sure to succeed.

    Args:
        work: Function of a slice.
        whole: The slice.
        what: Plural noun for the items of the slice, for the log.

    Returns:
        The results of the pieces, in order; one result if the whole slice fits.

    Raises:
        torch.OutOfMemoryError: If a slice of one item does not fit.
    """
    try:
        return [work(whole)]
    except RuntimeError as error:
        count = whole.stop - whole.start
        if count < 2 or not _is_memory_error(error):
            raise
        request = _request(error)
    # only here: the error keeps the tensors of the failed piece alive
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    _warn(f"out of memory with {count} {what} at once ({request}): working in halves")
    # a power of two, so that pieces are whole vectors: vector and scalar code differ in last digits
    middle = whole.start + (1 << (count - 1).bit_length() - 1)
    halves = (slice(whole.start, middle), slice(middle, whole.stop))
    return [result for half in halves for result in with_halving(work, half, what)]


@cache
def _warn(sentence: str) -> None:
    """Log a sentence once: what does not fit once does not fit in the next step either."""
    _LOG.warning(sentence)


@contextmanager
def explain_memory_errors(stage: str, device: str) -> Iterator[None]:
    """Turn memory errors inside the block into ones that name stage, device and remedies.

    Args:
        stage: Name of the stage.
        device: Name of the device.

    Raises:
        DeviceMemoryError: If memory runs out inside.
    """
    try:
        yield
    except DeviceMemoryError:
        raise
    except RuntimeError as error:
        if not _is_memory_error(error):
            raise
        raise DeviceMemoryError(
            f"the memory of {device} does not suffice for the stage {stage}, in the smallest "
            f"pieces it can be cut into: {_request(error)}. Let fewer jobs use the device at once "
            "(--resources gpu_slots=1), end what else runs on it, take one with more memory, or "
            "set in the study device: cpu, a smaller batch_size or model, or for skymask "
            "mask_precision: bfloat16; then run the same command again"
        ) from error


def _is_memory_error(error: RuntimeError) -> bool:
    """Return whether ``error`` is torch's or, by its text, that of a library below it."""
    words = ("ALLOC_FAILED", "CUDA error: out of memory")
    return isinstance(error, torch.OutOfMemoryError) or any(word in str(error) for word in words)


def _request(error: RuntimeError) -> str:
    """Return what was requested and what was free, in torch's words without its advice."""
    sentences = re.split(r"\.\s+(?=[A-Z])", " ".join(str(error).split()))
    kept = [s for s in sentences[:4] if not s.startswith(("See ", "If ", "Process "))]
    return ". ".join(kept).rstrip(".") or "torch gives no details"
