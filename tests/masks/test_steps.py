"""Tests of the compiled steps of mask learning against torch."""

import os
import subprocess
import sys

import pytest
import torch
from torch.testing import assert_close

from skymask.masks import kernel_numba, learning, steps
from tests.support.threads import with_threads

WIDTHS = [1, 15, kernel_numba.TILE, kernel_numba.TILE + 1, 33 * kernel_numba.TILE + 7]


RATE, CLAMP = 3e6, 1e-7


needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="torch sees no GPU here")


def situation(size, width, dtype=torch.float32, seed=0):
    """W, θ in the midst of learning, w̃, its denominator and a gradient."""
    source = torch.Generator().manual_seed(seed)
    rows = torch.randn(size, width, generator=source).to(dtype)
    theta = 3 * torch.randn(size, width, generator=source)
    gradient = 1e-6 * torch.randn(width, generator=source)
    gate = torch.sigmoid(theta)
    weight = gate.sum(dim=0)
    return rows, theta, (gate * rows).sum(dim=0) / weight, weight, gradient


def steps_of(kind, rows, others, count=3, monkeypatch=None):
    theta, masked, weight, gradient = (tensor.clone() for tensor in others)
    monkeypatch.setattr(steps, "kind_of", lambda _: kind)
    step = steps.stepper(rows)
    for _ in range(count):
        step(theta, masked, weight, gradient, RATE, CLAMP)
    return theta, masked, weight


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("size", [1, 2, 37])
def test_the_compiled_step_is_that_of_torch(size, width, dtype, monkeypatch):
    rows, *others = situation(size, width, dtype)
    ours = steps_of("numba", rows, others, monkeypatch=monkeypatch)
    reference = steps_of("torch", rows, others, monkeypatch=monkeypatch)
    assert not ours[0].equal(others[0]) or size == 1
    for one, other in zip(ours, reference, strict=True):
        assert_close(one, other, rtol=1e-5, atol=1e-5)


def test_float32_on_the_cpu_is_compiled_and_the_rest_is_not():
    assert steps.kind_of(torch.zeros(2, 3)) == "numba"
    assert steps.kind_of(torch.zeros(2, 3, dtype=torch.bfloat16)) == "numba"
    assert steps.kind_of(torch.zeros(2, 3, dtype=torch.float64)) == "torch"


def test_without_compilers_the_steps_are_those_of_torch(monkeypatch):
    monkeypatch.setattr(steps, "installed", lambda _: False)
    assert steps.kind_of(torch.zeros(2, 3)) == "torch"


def test_sigmoid_is_right_to_a_few_units_in_the_last_place():
    logits = torch.linspace(-80, 80, 20_001)[None]
    masked, weight = learning.combine(torch.ones_like(logits), logits)
    exact = torch.sigmoid(logits[0].double())
    near = logits[0].abs() < 8
    error = (weight.double() / exact - 1).abs()
    assert error[near].max() < 1e-6
    assert error.max() < 1e-5
    assert masked.eq(1).all()


@pytest.mark.parametrize("kind", ["numba", "torch"])
def test_bits_do_not_depend_on_the_number_of_threads(kind, monkeypatch):
    rows, *others = situation(5, 3 * 32 * kernel_numba.TILE + 11)
    found = with_threads(lambda: steps_of(kind, rows, others, monkeypatch=monkeypatch))
    for other in found[1:]:
        assert all(one.equal(two) for one, two in zip(found[0], other, strict=True))


def test_the_layout_of_the_models_in_memory_does_not_matter():
    rows = situation(4, 900)[0]

    def loss(w):
        return ((w - rows[0]) ** 2).sum() * 1e-4

    turned = rows.T.contiguous().T
    assert not turned.is_contiguous()
    assert learning.learn_masks(turned, loss, steps=5).equal(
        learning.learn_masks(rows, loss, steps=5)
    )


def test_bfloat16_models_are_learned_as_their_float32_copies_are():
    rows = situation(4, 900)[0].bfloat16()

    def loss(w):
        return ((w - rows[0].float()) ** 2).sum() * 1e-4

    theta = learning.learn_masks(rows, loss, steps=12)
    assert theta.dtype == torch.float32
    assert_close(theta, learning.learn_masks(rows.float(), loss, steps=12), rtol=0, atol=1e-4)
    assert learning.binarise(theta)[0].all()


MEMORY = """
import torch
from skymask.masks import learning

def memory(field):
    with open("/proc/self/status") as file:
        return next(int(line.split()[1]) for line in file if line.startswith(field))

torch.set_num_threads(1)
size, width = 40, 1_000_000
rows = torch.randn(size, width)

def loss(w):
    return w.square().sum()

learning.learn_masks(rows[:2, :300].clone(), loss, steps=2)
with open("/proc/self/clear_refs", "w") as file:
    file.write("5")  # the peak is that from here on
before = memory("VmRSS")
learning.learn_masks(rows, loss, steps=3)
print((memory("VmHWM") - before) * 1024 / (4 * width))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="memory in use is read from /proc")
def test_memory_is_that_of_the_masks_and_a_few_vectors():
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    output = subprocess.run(
        [sys.executable, "-c", MEMORY], env=environment, check=True, capture_output=True, text=True
    )
    vectors = float(output.stdout)
    # θ is 40 of them; w̃, its denominator, g, and half a dozen for the loss itself
    assert 39 < vectors < 52


INTERPRETED = """
import torch
from skymask.masks import kernel_triton
from skymask.masks import steps

source = torch.Generator().manual_seed(0)
full, half = torch.float32, torch.bfloat16
for size, width, dtype in [(3, 300, full), (5, 128, half), (1, 7, full)]:
    rows = torch.randn(size, width, generator=source).to(dtype)
    theta = 3 * torch.randn(size, width, generator=source)
    gradient = 1e-6 * torch.randn(width, generator=source)
    weight = torch.sigmoid(theta).sum(dim=0)
    masked = (torch.sigmoid(theta) * rows).sum(dim=0) / weight
    theta[:, 0] = -1000.0
    ours = [theta.clone(), masked.clone(), weight.clone()]
    reference = [theta.clone(), masked.clone(), weight.clone()]
    step = steps.by_torch(rows)
    for _ in range(3):
        kernel_triton.step(rows, *ours, gradient, 3e6, 1e-7)
        step(*reference, gradient, 3e6, 1e-7)
    assert not reference[0].equal(theta) or size == 1
    for one, other in zip(ours, reference):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-5)
"""


def test_the_kernel_for_gpus_is_right_where_triton_interprets_it():
    pytest.importorskip("triton", reason="Triton is not installed: it comes with torch for CUDA")
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(sys.path),
        "TRITON_INTERPRET": "1",
    }
    subprocess.run([sys.executable, "-c", INTERPRETED], env=environment, check=True)


@needs_gpu
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("width", [1, 127, 128, 100_003])
def test_the_kernel_for_gpus_is_right(width, dtype, monkeypatch):
    rows, *others = (tensor.cuda() for tensor in situation(21, width, dtype))
    assert steps.kind_of(rows) == "triton"
    ours = steps_of("triton", rows, others, monkeypatch=monkeypatch)
    reference = steps_of("torch", rows, others, monkeypatch=monkeypatch)
    for one, other in zip(ours, reference, strict=True):
        assert_close(one, other, rtol=1e-5, atol=1e-5)
