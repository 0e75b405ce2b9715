"""The device and cores for training, and their free memory. Knows torch's backends; must not know what is trained."""

from __future__ import annotations

from pathlib import Path

import torch

from pipeline.base.errors import PipelineError

DEVICE_NAMES = ("auto", "cuda", "mps", "cpu")


def choose_device(name: str = "auto") -> torch.device:
    """Return the device called `name`; `auto` is the first available of cuda, mps, cpu. Raises PipelineError."""
    kind, _, index = name.partition(":")
    if kind not in DEVICE_NAMES or (index and not index.isdigit()):
        raise PipelineError(f"unknown device {name!r}", hint=f"One of: {', '.join(DEVICE_NAMES)}, cuda:<number>.")
    available = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    if kind == "auto":
        return torch.device(next(backend for backend, is_available in available.items() if is_available))
    if not available[kind] or (kind == "cuda" and int(index or 0) >= torch.cuda.device_count()):
        found = ", ".join(backend for backend, is_available in available.items() if is_available)
        raise PipelineError(
            f"the device {name!r} is not available", hint=f"This machine has: {found}. DEVICE=auto picks one."
        )
    return torch.device(name)


def describe_device(device: torch.device) -> str:
    """Describe the device in a message."""
    if device.type == "cuda":
        return f"cuda ({torch.cuda.get_device_name(device)})"
    return f"cpu ({torch.get_num_threads()} threads)" if device.type == "cpu" else device.type


def free_memory(device: torch.device | None = None) -> int | None:
    """Return the free bytes of the device, or of main memory; None if unknown."""
    if device is not None and device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    free = [bytes_left for bytes_left in (_free_of_system(), _free_of_container()) if bytes_left is not None]
    return min(free, default=None)


def _free_of_system() -> int | None:
    """Return what Linux can free, the file cache included; None on other systems."""
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
        return next(1024 * int(line.split()[1]) for line in lines if line.startswith("MemAvailable"))
    except (OSError, StopIteration):
        return None


def _free_of_container() -> int | None:
    """Return what the limit of a container's control group (version 2) leaves; None without a limit."""
    folder = Path("/sys/fs/cgroup")
    try:
        limit = (folder / "memory.max").read_text(encoding="ascii").strip()
        if limit == "max":
            return None
        used = int((folder / "memory.current").read_text(encoding="ascii"))
        lines = (folder / "memory.stat").read_text(encoding="ascii").splitlines()
        cache = sum(int(line.split()[1]) for line in lines if line.startswith("inactive_file "))
        return int(limit) - used + cache
    except (OSError, ValueError):
        return None
