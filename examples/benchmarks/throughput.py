# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""
How fast something runs, measured so that it can be compared: calls timed in turn, the arithmetic they do, the memory
they take, and what the machine itself reaches in a matrix product.
"""

import csv
import json
import multiprocessing
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

import torch
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from vitseg.deployment.linear import convolved_linear
from vitseg.progress import progress_bar
from vitseg.replacing import replacing

from .quiet import LISTENER


# Side of the matrices of `matmul_peak`: large enough to keep all units of such a device busy.
MATMUL_SIZE = {"cuda": 8192, "cpu": 2048}
LINUX_STATUS = Path("/proc/self/status")

P = ParamSpec("P")
T = TypeVar("T")


def time_in_turn(
    functions: Mapping[str, Callable[[], object]],
    *,
    repeats: int,
    warmup: int = 2,
    device: torch.device | str = "cpu",
) -> dict[str, list[float]]:
    """
    The seconds that each function takes, call by call.

    The functions are called in turn, so that whatever else the machine is doing slows all of them alike: of two
    functions, the ratios of calls of the same turn are sounder than the ratio of their times.

    Args:
        functions: what to time, by name.
        repeats: how often each is timed.
        warmup: how often each is called before.
        device: where the work is done; a call ends when that device has nothing left to do.

    Returns:
        `repeats` times for each name, in the order in which they were measured.
    """
    seconds: dict[str, list[float]] = {name: [] for name in functions}
    for _ in range(warmup):
        for function in functions.values():
            function()
    with LISTENER.timing(seconds):
        for _ in progress_bar(range(repeats), desc=f"Timing {', '.join(functions)}", leave=False):
            for name, function in functions.items():
                _synchronize(device)
                started = time.perf_counter()
                function()
                _synchronize(device)
                seconds[name].append(time.perf_counter() - started)
    return seconds


def _synchronize(device: torch.device | str) -> None:
    if torch.device(device).type == "cuda":
        torch.cuda.synchronize(device)


def calls_per_second(
    function: Callable[[], object],
    *,
    seconds: float = 6.0,
    warmup: int = 10,
    first_count: int = 100,
    device: torch.device | str = "cpu",
) -> float:
    """
    How often a function is called in a second, without waiting for the device between the calls.

    This is how the authors of SCTNet measure frames per second: after `warmup` calls, a loop of `first_count`, of
    twice as many, and so on until it lasts a second tells how many calls a loop of so many `seconds` has; that one
    counts.
    """
    for _ in range(warmup):
        function()
    count, elapsed = first_count, _time_loop(function, first_count, device)
    while elapsed < min(seconds, 1.0):
        count *= 2
        elapsed = _time_loop(function, count, device)
    count = max(int(count / elapsed * seconds), 1)
    with LISTENER.timing():
        return count / _time_loop(function, count, device)


def _time_loop(function: Callable[[], object], count: int, device: torch.device | str) -> float:
    _synchronize(device)
    started = time.perf_counter()
    for _ in range(count):
        function()
    _synchronize(device)
    return time.perf_counter() - started


def count_multiply_adds(function: Callable[..., object], *arguments: Any) -> int:
    """
    Multiply-adds of the matrix products, convolutions and attention of one call: what papers state as "FLOPs".

    It is half of what PyTorch's `FlopCounterMode` counts, which takes additions apart from multiplications. What works
    element by element, such as normalisation, activation or interpolation, counts as nothing. With modules and tensors
    on the device "meta" nothing is computed; models whose course depends on their numbers need another.
    """
    # The counter does not know the CPU's fused attention, but the matrix products that it stands for.
    with torch.no_grad(), sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        function(*arguments)
    return counter.get_total_flops() // 2


def matmul_speed(
    device: torch.device | str,
    dtype: torch.dtype,
    *,
    product: Callable[[torch.Tensor, torch.Tensor], torch.Tensor] = torch.matmul,
    size: int | None = None,
    repeats: int = 5,
) -> float:
    """
    Multiply-adds per second of a product of two square matrices, at its fastest.

    Args:
        device: where.
        dtype: of the matrices.
        product: what multiplies them, by default PyTorch's own matrix product.
        size: their side; by default large, see `MATMUL_SIZE`.
        repeats: how many products are timed.
    """
    size = size or MATMUL_SIZE[torch.device(device).type]
    left, right = (torch.randn(size, size, device=device).to(dtype) for _ in range(2))
    seconds = time_in_turn({"a matrix product": lambda: product(left, right)}, repeats=repeats, device=device)
    return size**3 / min(seconds["a matrix product"])


@torch.inference_mode()
def matmul_shares(multiply_adds_per_second: float, device: torch.device | str, dtype: torch.dtype) -> dict[str, float]:
    """
    What a speed is in terms of large matrix products.

    Returns:
        `matmul_share`: as a share of the fastest that the machine is known to compute, be it PyTorch's matrix product
        or the linear layer of tuned models; `torch_matmuls`: as a multiple of PyTorch's matrix product, which on some
        processors is well below that.
    """
    torch_speed = matmul_speed(device, dtype)
    fastest = max(torch_speed, matmul_speed(device, dtype, product=convolved_linear))
    return {
        "matmul_share": multiply_adds_per_second / fastest,
        "torch_matmuls": multiply_adds_per_second / torch_speed,
    }


def peak_memory(device: torch.device | str) -> int:
    """
    The most bytes that this process has held so far: those that PyTorch allocated on a CUDA device, or on the CPU all
    of the process's memory, of which the difference to an earlier call tells what came in between.
    """
    if torch.device(device).type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    if LINUX_STATUS.exists():
        # Linux's `getrusage` would go on from what the parent process had when it started this one.
        _, _, rest = LINUX_STATUS.read_text(encoding="utf-8").partition("VmHWM:")
        return 1024 * int(rest.split()[0])
    import resource  # which Windows has not

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def in_own_process(function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """
    What `function`, one of a module, returns; `RuntimeError` or `BrokenProcessPool` if memory runs out.

    A dict gets the key `noise`: what was not quiet in the meantime, see `LISTENER`.
    """
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as process:
        result, noise = process.submit(_listen, function, args, kwargs).result()
    return {**result, "noise": noise} if isinstance(result, dict) else result  # type: ignore[return-value]


def _listen(function: Callable[..., T], args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[T, str]:
    return function(*args, **kwargs), LISTENER.take()


def seconds_and_memory(function: Callable[[], object], repeats: int, device: str) -> dict[str, Any]:
    """Median `seconds` of a call, and `megabytes`, 1e6 bytes by which this process grew in the first of them."""
    before = peak_memory(device)
    function()
    megabytes = (peak_memory(device) - before) / 1e6
    times = time_in_turn({"a call": function}, repeats=repeats, warmup=1, device=device)["a call"]
    return {"seconds": statistics.median(times), "megabytes": megabytes}


@dataclass(frozen=True, kw_only=True)
class ModelSettings:
    """
    How a model is measured.

    Args:
        device: `"cpu"` or `"cuda"`.
        dtype: name of the floating-point type of weights and images, such as `"bfloat16"`.
        batch_size: images in a batch.
        input_size: height and width of the images.
        compile: whether the model goes through `torch.compile`.
        channels_last: whether weights and images are laid out channels last.
        repeats: how many batches are timed.
        warmup: how many batches go before, one or more.
    """

    device: str = "cpu"
    dtype: str = "float32"
    batch_size: int = 1
    input_size: tuple[int, int] = (512, 512)
    compile: bool = False
    channels_last: bool = False
    repeats: int = 20
    warmup: int = 5

    @property
    def memory_format(self) -> torch.memory_format:
        return torch.channels_last if self.channels_last else torch.contiguous_format

    def describe(self) -> str:
        """What is inside the timing, in a sentence."""
        height, width = self.input_size
        return (
            f"one forward pass without gradients, from {self.batch_size} x 3 x {height} x {width} {self.dtype} "
            f"{'channels-last ' if self.channels_last else ''}pixel values on {self.device} "
            f"{'through torch.compile ' if self.compile else ''}to the output there, after {self.warmup} passes to "
            "warm up; decoding, resizing and copying images are not included"
        )


@torch.inference_mode()
def measure_model(
    build: Callable[[], nn.Module], settings: ModelSettings, prepare: Callable[[nn.Module], nn.Module]
) -> dict[str, Any]:
    """
    Speed, arithmetic and memory of a model.

    On a CPU the memory is only right if this process has not held more before: measure each model in its own.

    Args:
        build: makes the model, on the default device.
        settings: how it is measured.
        prepare: what is done to it before, such as `tune`.

    Returns:
        `parameters`: of the model as it is built; `gflops`: 1e9 multiply-adds per image, see `count_multiply_adds`;
        `latency_ms`, `latency_ms_min`, `latency_ms_max`: of a batch, the first being the median; `images_per_second`
        and `gflops_per_second`: at the median; `peak_memory_mb`: 1e6 bytes in the first pass, weights included;
        `matmul_share` and `torch_matmuls`: see `matmul_shares`, with the same dtype. All are plain numbers.

    Raises:
        RuntimeError: if memory runs out; `accelerate.utils.memory.should_reduce_batch_size` tells this from others.
    """
    dtype, device = getattr(torch, settings.dtype), settings.device
    memory_before = peak_memory(device)
    model = build().eval()
    parameters = sum(parameter.numel() for parameter in model.parameters())
    model = prepare(model).to(device, dtype)
    if settings.channels_last:
        model = model.to(memory_format=torch.channels_last)
    images = torch.randn(settings.batch_size, 3, *settings.input_size, device=device)
    images = images.to(dtype=dtype, memory_format=settings.memory_format)
    forward = torch.compile(model) if settings.compile else model
    forward(images)
    # Of one pass: a process that passes through a model again and again may come to hold more.
    memory = peak_memory(device) - memory_before
    multiply_adds = count_multiply_adds(model, images[:1])
    seconds = time_in_turn(
        {"the model": lambda: forward(images)}, repeats=settings.repeats, warmup=settings.warmup - 1, device=device
    )["the model"]

    latency = statistics.median(seconds)
    images_per_second = settings.batch_size / latency
    return {
        "parameters": parameters,
        "gflops": multiply_adds / 1e9,
        "latency_ms": 1e3 * latency,
        "latency_ms_min": 1e3 * min(seconds),
        "latency_ms_max": 1e3 * max(seconds),
        "images_per_second": images_per_second,
        "gflops_per_second": images_per_second * multiply_adds / 1e9,
        "peak_memory_mb": memory / 1e6,
        **matmul_shares(images_per_second * multiply_adds, device, dtype),
    }


def append_rows(file: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """
    Adds rows to a table, which is made if it does not exist: a JSON list of objects, or CSV with a header.

    A CSV file gets the columns that it lacks; cells without a value are empty.

    Raises:
        ValueError: if the file's name ends in neither .json nor .csv, or the file there holds no such table.
    """
    if file.suffix not in (".json", ".csv"):
        raise ValueError(f"{file} ends in neither .json nor .csv: name a file of one of these kinds.")
    table = [*(_read_rows(file) if file.exists() else []), *rows]
    with replacing(file) as unfinished, unfinished.open("w", newline="", encoding="utf-8") as stream:
        if file.suffix == ".json":
            json.dump(table, stream, indent=1)
        else:
            writer = csv.DictWriter(stream, fieldnames=list(dict.fromkeys(key for row in table for key in row)))
            writer.writeheader()
            writer.writerows(table)


def _read_rows(file: Path) -> list[dict[str, Any]]:
    with file.open(newline="", encoding="utf-8") as stream:
        if file.suffix == ".csv":
            return list(csv.DictReader(stream))
        try:
            table = json.load(stream)
        except json.JSONDecodeError as error:
            raise ValueError(f"{file} is not a JSON file: {error}") from error
    if not isinstance(table, list):
        raise ValueError(f"{file} holds no list of rows: name another file.")
    return table
