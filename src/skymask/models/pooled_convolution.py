"""A 3 × 3 convolution, max pooling by 2 and ReLU as one layer.

On the CPU in float32 compiled loops take the gradient through the pool, where three of four entries
are zero; this layer is half of a small network's time.  Elsewhere, and without numba, it is torch's
three operations, whose values it has up to rounding.  ReLU comes after the pool, where it has a
quarter of the work; the result is the same, since the largest value is the largest positive one.
"""

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from skymask.numerics.backends import installed
from skymask.numerics.parallel import parallel_map

# from so many input and output channels on, compiled loops are faster than torch's operations
CHANNELS = 16
# samples of a part, which one thread works on
SAMPLES = 32


class PooledConvolution(nn.Conv2d):
    """ReLU(max_pool2d(conv(x), 2)) with a 3 × 3 kernel, stride 1.

    ``fused = False`` uses torch's three operations everywhere, as function transforms need.
    """

    def __init__(self, channels: int, outputs: int, padding: int = 0) -> None:
        super().__init__(channels, outputs, 3, padding=padding)
        self.fused = True

    def forward(self, input: Tensor) -> Tensor:
        """Map [N, C, H, W] to [N, O, H', W'], H' = (H + 2 padding − 2) // 2."""
        if self._fusible(input):
            outputs: Tensor = _Fused.apply(input, self.weight, self.bias, self.padding)  # type: ignore[no-untyped-call]
            return outputs
        return functional.relu(functional.max_pool2d(super().forward(input), 2))

    def _fusible(self, images: Tensor) -> bool:
        return (
            self.fused
            and images.device.type == "cpu"
            and images.dtype == self.weight.dtype == torch.float32
            and not torch.is_autocast_enabled("cpu")
            and self.out_channels >= CHANNELS
            and len(images) > 0
            and installed("numba")
        )


class _Fused(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, images: Tensor, weight: Tensor, bias: Tensor, padding: Any) -> Tensor:
        from skymask.models import pooled_convolution_kernel

        outputs = _channels_last(functional.conv2d(images, weight, bias, padding=padding))
        count, channels, height, width = outputs.shape
        shape = (count, height // 2, width // 2, channels)
        pooled = torch.empty(shape)
        places = torch.empty(shape, dtype=torch.uint8)
        whole = (_numpy(outputs), pooled.numpy(), places.numpy())
        parallel_map(
            lambda part: pooled_convolution_kernel.pool(*(array[part] for array in whole)),
            _parts(count),
        )
        ctx.save_for_backward(images, weight, places)
        ctx.padding, ctx.size = padding, (height, width)
        return pooled.permute(0, 3, 1, 2)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        images, weight, places = ctx.saved_tensors
        gradient = _channels_last(gradients[0])
        dense = images.shape[1] < CHANNELS or any(ctx.padding)
        method = _dense if dense else _sparse
        return (*method(ctx, images, weight, places.numpy(), gradient), None)


def _dense(
    ctx: Any, images: Tensor, weight: Tensor, places: Any, gradient: Tensor
) -> tuple[Tensor | None, Tensor, Tensor]:
    from skymask.models import pooled_convolution_kernel

    count, channels = gradient.shape[:2]
    spread = torch.empty(count, *ctx.size, channels)
    whole = (_numpy(gradient), places, spread.numpy())
    parallel_map(
        lambda part: pooled_convolution_kernel.unpool(*(array[part] for array in whole)),
        _parts(count),
    )
    needed = [ctx.needs_input_grad[0], True, True]
    gradients: tuple[Tensor | None, Tensor, Tensor] = torch.ops.aten.convolution_backward(
        spread.permute(0, 3, 1, 2),
        images,
        weight,
        [channels],
        [1, 1],
        list(ctx.padding),
        [1, 1],
        False,
        [0, 0],
        1,
        needed,
    )
    return gradients


def _sparse(
    ctx: Any, images: Tensor, weight: Tensor, places: Any, gradient: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    from skymask.models import pooled_convolution_kernel

    count, channels, height, width = images.shape
    outputs = len(weight)
    # a row of the kernel, padded to a multiple of the processor's vector length
    row = -(-3 * channels // 16) * 16
    kernel = np.zeros((outputs, 3, row), np.float32)
    kernel[:, :, : 3 * channels] = weight.permute(0, 2, 3, 1).reshape(outputs, 3, -1).numpy()
    inputs, slopes = _numpy(_channels_last(images)), _numpy(gradient)
    d_images = torch.empty(count, height, width, channels)
    back = d_images.numpy()

    def work(part: slice) -> tuple[Any, Any]:
        d_weight, d_bias = np.zeros_like(kernel), np.zeros(outputs, np.float32)
        pooled_convolution_kernel.backward(
            inputs[part], places[part], slopes[part], kernel, d_weight, d_bias, back[part]
        )
        return d_weight, d_bias

    # summed in the order of the samples, whatever the number of threads
    parts = parallel_map(work, _parts(count))
    d_weight, d_bias = (sum(piece[1:], piece[0]) for piece in zip(*parts, strict=True))
    d_weight = d_weight[:, :, : 3 * channels].reshape(outputs, 3, 3, channels)
    return (
        d_images.permute(0, 3, 1, 2),
        torch.from_numpy(np.ascontiguousarray(d_weight.transpose(0, 3, 1, 2))),
        torch.from_numpy(d_bias),
    )


def _parts(count: int) -> list[slice]:
    return [slice(start, start + SAMPLES) for start in range(0, count, SAMPLES)]


def _channels_last(images: Tensor) -> Tensor:
    return images.contiguous(memory_format=torch.channels_last)


def _numpy(images: Tensor) -> Any:
    """View images [N, C, H, W], channels innermost in memory, as an array [N, H, W, C]."""
    return images.detach().permute(0, 2, 3, 1).contiguous().numpy()
