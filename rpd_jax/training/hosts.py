"""Several processes of one run under `jax.distributed`, each with members of its own.

Members are independent, so that a process trains its own as an ordinary population on its own devices and cores. What
concerns all of them (metrics, evaluations, checkpoints, signals, failures) is shared between iterations: every process
hands in a value and gets everybody's. Files are the first one's business: no other writes any, and none but the first
needs the run directory. A checkpoint is gathered there rather than written by all together: it is then the one that a
single process would have written, can be resumed with any number of them, and needs no file system that all can reach.
"""

from __future__ import annotations

import contextlib
import functools
import os
import struct
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NoReturn

import jax
import msgpack
import numpy as np
from jax.sharding import NamedSharding, PartitionSpec

from rpd_jax.config import ConfigError, RunConfig
from rpd_jax.config.validation import require
from rpd_jax.ipc.text import described, one_line
from rpd_jax.runs.interrupt import StopRequest

CHUNK = 1 << 22  # bytes of each process that travel at once
_HEADER = struct.Struct("<q1016s")  # how many bytes follow, and -1 with a message where a process has failed
_FAILED = -1
_ARRAY = 1  # msgpack's extension type
_GRACE = 2.0  # seconds


class HostsFailed(RuntimeError):
    """Another process of the run has failed or is gone; the message says what is known."""


class Hosts:
    """The processes of a run, as one of them sees it; by itself it is all there is.

    The processes call the methods that share something in the same order. Each raises HostsFailed where another process
    has failed or is gone. One that has stopped without a word counts as gone once its heartbeats have been missing for
    `run.heartbeat_timeout_seconds`: JAX then ends this process, with a message of its own.
    """

    def __init__(self, index: int = 0, count: int = 1) -> None:
        self.index, self.count = index, count

    @property
    def reports(self) -> bool:
        """Whether it is the one that writes files and says how far the run is."""
        return self.index == 0

    def rows(self, members: int) -> slice:
        """Its own of all members, one after the other. Raises ConfigError where there are too few for all processes."""
        right = f"at most {members}, as many as there are members"
        require(self.count <= members, "run.num_processes", self.count, right)
        each, more = divmod(members, self.count)
        first = self.index * each + min(self.index, more)
        return slice(first, first + each + (self.index < more))

    def share(self, value: Any, *, everywhere: bool = True) -> list[Any]:
        """Everybody's `value`, plain data and numpy arrays, in the order of processes; tuples become lists.

        With `everywhere` False only the process that reports gets them, the others an empty list.
        """
        if self.count == 1:
            return [value]
        data = msgpack.packb(value, default=_pack)
        sizes = self._sizes(len(data))
        keep, found = everywhere or self.reports, [bytearray() for _ in sizes]
        for begin in range(0, max(sizes), CHUNK):
            left = min(CHUNK, max(sizes) - begin)
            part = np.zeros(1 << (left - 1).bit_length(), np.uint8)  # few sizes, so that few programs are compiled
            mine = data[begin : begin + left]
            part[: len(mine)] = np.frombuffer(mine, np.uint8)
            for theirs, received in zip(found, self._gather(part)[:, :left], strict=True):
                if keep:
                    theirs += received.tobytes()
        if not keep:
            return []
        return [
            msgpack.unpackb(memoryview(each)[:size], ext_hook=_unpack) for each, size in zip(found, sizes, strict=True)
        ]

    def lists(self, mine: Sequence[Any]) -> list[Any]:
        """Everybody's lists as one: of all members, where each has an item for each of its own."""
        return list(mine) if self.count == 1 else [item for theirs in self.share(list(mine)) for item in theirs]

    def first(self, value: Any) -> Any:
        """What the process that reports has handed in."""
        return self.share(value if self.reports else None)[0]

    def gathered(self, own: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Arrays of all members, from everybody's [own * K, ...], where it reports; elsewhere nothing.

        Those without an axis are the same everywhere.
        """
        if self.count == 1:
            return dict(own)
        trees = self.share(dict(own), everywhere=False)
        if not trees:
            return {}
        return {name: np.concatenate([tree[name] for tree in trees]) if x.ndim else x for name, x in own.items()}

    def own(self, everyones: Mapping[str, np.ndarray], members: int) -> dict[str, np.ndarray]:
        """Inverse of `gathered`: its part of the arrays of all members."""
        rows = self.rows(members)

        def cut(x: np.ndarray) -> np.ndarray:
            each = len(x) // members
            return x[rows.start * each : rows.stop * each]

        return {name: cut(x) if x.ndim else x for name, x in everyones.items()}

    def merged(self, rows: Sequence[dict[str, float]]) -> list[dict[str, float]]:
        """Rows of metrics of all members, from everybody's of the same iterations.

        Counts and throughputs of the processes are added up, of other times the longest counts.
        """
        if self.count == 1:
            return list(rows)
        return [_merge(theirs) for theirs in zip(*self.share(list(rows)), strict=True)]

    def stop(self, request: StopRequest) -> bool:
        """Whether a signal has asked any of the processes to stop: all of them do, and after the same iteration."""
        asked = [number for number in self.share(request.signal) if number is not None]
        if asked and not request:
            request.signal = asked[0]
        return bool(asked)

    def tell(self, error: BaseException) -> None:
        """Lets the others know that this process has failed; they raise HostsFailed at what they share next."""
        if self.count > 1:
            with contextlib.suppress(HostsFailed):  # they are gone themselves
                self._sizes(_FAILED, described(error))

    @functools.cached_property
    def _wires(self) -> tuple[NamedSharding, Callable[[jax.Array], jax.Array]]:
        """How arrays are split over one device of each process, and the program that gives all of them everything."""
        firsts = {device.process_index: device for device in reversed(_devices())}
        mesh = jax.sharding.Mesh(np.array([firsts[process] for process in range(self.count)]), ("process",))
        split, everywhere = (NamedSharding(mesh, PartitionSpec(axis)) for axis in ("process", None))
        return split, jax.jit(lambda x: x, out_shardings=everywhere)

    def _sizes(self, size: int, message: str = "") -> list[int]:
        text = message.encode()[: _HEADER.size - 8]
        rows = self._gather(np.frombuffer(_HEADER.pack(size, text), np.uint8))
        headers = [_HEADER.unpack(row.tobytes()) for row in rows]
        failed = [(process, text) for process, (size, text) in enumerate(headers) if size == _FAILED]
        if failed:
            process, text = failed[0]
            reason = text.rstrip(b"\0").decode(errors="replace")
            raise HostsFailed(f"process {process} of {self.count} failed: {reason}")
        return [size for size, _ in headers]

    def _gather(self, x: np.ndarray) -> np.ndarray:
        """Everybody's bytes [B], as [processes, B]."""
        split, to_all = self._wires
        mine = jax.device_put(x[None], split.mesh.devices[self.index])
        try:
            shards = jax.make_array_from_single_device_arrays((self.count, *x.shape), split, [mine])
            return np.asarray(to_all(shards).addressable_data(0))
        except (RuntimeError, ValueError) as error:  # as gloo's come
            raise HostsFailed(f"another process of the run is gone: {one_line(error)[:200]}") from error


@contextlib.contextmanager
def joined(run: RunConfig) -> Iterator[Hosts]:
    """The processes of a run while the block runs; nobody leaves it before all have come to its end, or one has failed.

    `jax.distributed` is initialised unless it is already. It has a listener at the coordinator's address, on loopback
    only where that is such an address.

    Raises:
      ConfigError: `run` asks for several processes, and what JAX needs to know is missing or contradicts itself.
    """
    if not run.distributed:
        yield Hosts()
        return
    if not is_joined():
        _initialize(run)
    hosts = Hosts(jax.process_index(), jax.process_count())
    try:
        hosts.share(
            None
        )  # now that all are here: gloo waits for nobody longer than 30 s when it connects, later it does
        yield hosts
        hosts.share(None)
    except HostsFailed:
        raise
    except BaseException as error:
        hosts.tell(error)
        raise


def is_joined() -> bool:
    """Whether this process is one of several, or was."""
    return jax.distributed.is_initialized()


def leave(status: int) -> NoReturn:
    """Ends a process of a failed run at once: JAX's farewell would wait for those that are gone, and abort.

    The coordinator stays a moment longer: without it JAX ends the others before they have said why they end.
    """
    if jax.process_index() == 0:
        time.sleep(_GRACE)
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


def _initialize(run: RunConfig) -> None:
    plain = None not in (run.coordinator_address, run.num_processes, run.process_id)
    address = run.coordinator_address or os.environ.get("JAX_COORDINATOR_ADDRESS", "")
    local = address.rpartition(":")[0].strip("[]") in ("localhost", "127.0.0.1", "::1")
    try:
        jax.distributed.initialize(
            run.coordinator_address,
            run.num_processes,
            run.process_id,
            cluster_detection_method="deactivate" if plain else None,
            coordinator_bind_address=address if local and "JAX_COORDINATOR_BIND_ADDRESS" not in os.environ else None,
            heartbeat_timeout_seconds=run.heartbeat_timeout_seconds,
        )
    except (ValueError, RuntimeError) as error:
        needed = "run.coordinator_address, run.num_processes and run.process_id where no cluster says them"
        raise ConfigError(f"run.distributed=True cannot work: {one_line(error)}; set {needed}") from error


def _devices() -> Sequence[jax.Device]:
    """Those that processes talk through: processors, so that whoever closes a connection is missed at once."""
    try:
        return jax.devices("cpu")
    except RuntimeError:  # JAX_PLATFORMS leaves them out
        return jax.devices()


def _merge(theirs: Sequence[Mapping[str, float]]) -> dict[str, float]:
    found: dict[str, float] = {}
    for row in theirs:
        for name, value in row.items():
            before = found.get(name)
            if before is None:
                found[name] = value
            elif name.startswith("time/") and not name.endswith("_per_second"):
                found[name] = max(before, value)
            else:
                found[name] = before + value
    return found


def _pack(x: Any) -> Any:
    if not isinstance(x, np.ndarray | np.generic):
        raise TypeError(f"{type(x).__name__} is no plain data")
    return msgpack.ExtType(_ARRAY, msgpack.packb([x.dtype.name, x.shape, x.tobytes()]))


def _unpack(code: int, data: bytes) -> Any:
    assert code == _ARRAY
    dtype, shape, content = msgpack.unpackb(data)
    return np.frombuffer(content, np.dtype(dtype)).reshape(shape)
