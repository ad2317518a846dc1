"""What is done when the memory of a device does not suffice: smaller pieces, then a clear error.

Pieces of fixed sizes (clients trained together, columns of masks, samples evaluated) are chosen so
that they fit into an ordinary GPU.  Where one does not, because the GPU is small or others use it,
it is cut in halves, and these again, down to one.  The results are those of the whole piece as far
as its work does not depend on who is beside whom: to the bit for columns, unless a piece is
shorter than a vector of the processor, and up to rounding for clients and samples, whose products a
device may sum in another order.
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
    """Not even the smallest piece fits; the message says what was asked where, and the ways out."""


def with_halving(work: Callable[[slice], R], whole: slice, what: str) -> list[R]:
    """``[work(whole)]``, or of the halves of ``whole``, in order, where memory does not suffice.

    ``work`` is asked again for what it could not do, so it must leave everything as it was until it
    is sure to succeed.  ``what`` the slice counts is said in the log.  Raises torch's error where a
    slice of one does not fit either.
    """
    try:
        return [work(whole)]
    except RuntimeError as error:
        count = whole.stop - whole.start
        if count < 2 or not _of_memory(error):
            raise
        said = _asked(error)
    # only here: the error holds on to the tensors that were in the way
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    _warn(f"out of memory with {count} {what} at once ({said}): done in halves")
    # a power of two: whole vectors of a processor, whose last digits are not those of its scalars
    middle = whole.start + (1 << (count - 1).bit_length() - 1)
    halves = (slice(whole.start, middle), slice(middle, whole.stop))
    return [found for half in halves for found in with_halving(work, half, what)]


@cache
def _warn(sentence: str) -> None:
    """Say it once: what does not fit once does not fit in the next step either."""
    _LOG.warning(sentence)


@contextmanager
def explain_memory_errors(stage: str, device: str) -> Iterator[None]:
    """Inside, an error of memory names the ``stage``, the ``device`` and the ways out.

    Raises DeviceMemoryError.
    """
    try:
        yield
    except DeviceMemoryError:
        raise
    except RuntimeError as error:
        if not _of_memory(error):
            raise
        raise DeviceMemoryError(
            f"the memory of {device} does not suffice for the stage {stage}, in the smallest "
            f"pieces it can be cut into: {_asked(error)}. Let fewer jobs use the device at once "
            "(--resources gpu_slots=1), end what else runs on it, take one with more memory, or "
            "set in the study device: cpu, a smaller batch_size or model, or for skymask "
            "mask_precision: bfloat16; then run the same command again"
        ) from error


def _of_memory(error: RuntimeError) -> bool:
    """Whether ``error`` is torch's or, by its words, that of a library below it."""
    words = ("ALLOC_FAILED", "CUDA error: out of memory")
    return isinstance(error, torch.OutOfMemoryError) or any(word in str(error) for word in words)


def _asked(error: RuntimeError) -> str:
    """What was asked for and what there was, in torch's own words but for its advice."""
    sentences = re.split(r"\.\s+(?=[A-Z])", " ".join(str(error).split()))
    kept = [s for s in sentences[:4] if not s.startswith(("See ", "If ", "Process "))]
    return ". ".join(kept).rstrip(".") or "torch says no more"
