"""Mesh: named axes over the devices of the launch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from . import _core, environment
from .errors import ShardingError
from .location import user_location


@dataclass(frozen=True)
class Mesh:
    """Named axes over devices, the last axis the nearest; `pp` cuts the mesh into pipeline stages.

    Global device ids are dealt to the ranks in contiguous blocks.
    """

    kind: str
    axes: tuple[tuple[str, int], ...]
    threads: int
    gpus: tuple[
        int, ...
    ] = ()  # device i of a cuda mesh lies on gpus[i % len(gpus)]; (): on all GPUs
    gpu_memory_gib: float = 0.0  # that a plan may take of each GPU; 0: what is free

    @property
    def num_devices(self) -> int:
        """How many devices it has: the product of its sizes."""
        count = 1
        for _, size in self.axes:
            count *= size
        return count

    @property
    def layout_axes(self) -> int:
        """Number of layout axes: `micro`, then the axes without `pp`."""
        return 1 + sum(1 for name, _ in self.axes if name != "pp")

    @property
    def shape(self) -> Mapping[str, int]:
        """The size of each axis, in their order."""
        return dict(self.axes)

    def size(self, axis: str) -> int:
        """The size of an axis; KeyError if there is none of that name."""
        return self.shape[axis]

    def device_ranks(self, world_size: int) -> list[int]:
        """The rank of each device."""
        block = self.num_devices // world_size
        return [device // block for device in range(self.num_devices)]

    def target(self, world_size: int) -> _core.Target:
        """The machine as the compiler sees it."""
        if self.kind == "cuda":
            return _core.Target.cuda(
                ranks=self.device_ranks(world_size),
                gpus=_core.cuda_gpus(
                    library=environment.cuda_library(),
                    placement=list(self.gpus),
                    devices=self.num_devices,
                    **environment.cuda_files(),
                ),
                limit_bytes=int(self.gpu_memory_gib * (1 << 30)),
            )
        return _core.Target.cpu(
            ranks=self.device_ranks(world_size),
            threads=self.threads,
            cores=environment.core_count(),
            memory_bytes=environment.memory_bytes() // self.num_devices,
            kind=self.kind,
        )

    def summary(self) -> str:
        """Axes and devices, and the levels of links between these as the compiler reckons with them; once a step
        has run, how this rank reaches the others."""
        world_size = environment.world_size()
        paths = "".join(
            f"\nrank {environment.rank()} reaches rank {rank} by {path}"
            for rank, path in enumerate(environment.paths())
            if rank != environment.rank()
        )
        return (
            f"mesh {self}  kind {self.kind}  devices {self.num_devices}  ranks {world_size}  "
            f"threads of a device {self.threads}{self._placement()}\n\n"
            f"{self.target(world_size).links_text()}{paths}"
        )

    def _placement(self) -> str:
        if self.kind != "cuda":
            return ""
        if not self.gpus:
            return "  device i on GPU i mod the visible ones"
        dealt = (self.gpus[device % len(self.gpus)] for device in range(self.num_devices))
        return f"  on GPUs {','.join(map(str, dealt))}"

    def __str__(self) -> str:
        return " ".join(f"{name}:{size}" for name, size in self.axes)


def mesh(
    kind: str = "cpu",
    *,
    threads: int | None = None,
    gpus: Sequence[int] = (),
    gpu_memory_gib: float = 0.0,
    **axes: int,
) -> Mesh:
    """A mesh of devices: `flow.mesh("cpu", dp=2, tp=2)`; without axes, one device per rank on `dp`.

    `threads` is the team of each CPU device; by default the cores of the host are shared out evenly.
    The devices of a "cuda" mesh are logical ones: device i lies on GPU i mod the visible GPUs of this
    process, or on the i-th of `gpus`, which begins again behind its last; ranks share no GPU. A plan that needs more
    memory of a GPU than it has free is refused when it is compiled; `gpu_memory_gib` says instead how much its own
    blocks may take, whatever is there and whatever was predicted of context and libraries. "async" is for tests: CPU
    kernels on streams that answer late, as accelerators do.
    """
    location = user_location()
    if kind not in ("cpu", "cuda", "async", "null"):
        raise ShardingError(
            f"there are no {kind!r} devices here; use flow.mesh('cpu', ...)", location
        )
    world_size = environment.world_size()
    if gpus and kind != "cuda":
        raise ShardingError(f"a {kind} mesh has no GPUs; leave out gpus", location)
    if not all(isinstance(gpu, int) and gpu >= 0 for gpu in gpus):
        raise ShardingError(
            f"gpus is {list(gpus)!r}; it lists GPUs by number, as in [0, 0, 1, 1]", location
        )
    if isinstance(gpu_memory_gib, bool) or not isinstance(gpu_memory_gib, (int, float)):
        raise ShardingError(f"gpu_memory_gib={gpu_memory_gib!r}: a number of GiB", location)
    if not 0 <= gpu_memory_gib <= 1 << 20:
        raise ShardingError(
            f"gpu_memory_gib must be from 0 (what is free) to {1 << 20}, got {gpu_memory_gib}",
            location,
        )
    if gpu_memory_gib and kind != "cuda":
        raise ShardingError(f"a {kind} mesh has no GPUs; leave out gpu_memory_gib", location)
    if not axes:
        axes = {"dp": world_size}
    for name, size in axes.items():
        if name == "micro" or not name.isidentifier():
            raise ShardingError(f"{name!r} cannot be the name of a mesh axis", location)
        if not isinstance(size, int) or size < 1:
            raise ShardingError(
                f"mesh axis {name} has size {size!r}; sizes are integers from 1", location
            )
    count = 1
    for size in axes.values():
        count *= size
    if count % world_size:
        raise ShardingError(
            f"a mesh of {count} devices cannot be dealt to {world_size} ranks; make the product of the axes a "
            f"multiple of {world_size}",
            location,
        )
    if threads is None:
        threads = max(1, environment.core_count() // count)
    return Mesh(kind, tuple(axes.items()), threads, tuple(gpus), float(gpu_memory_gib))
