"""The Ray cluster that replicas run on: one that is there, or one of this machine alone."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import sys
import threading
import warnings
from collections.abc import Iterator
from typing import Any

from absl import logging

from rpd_jax.config.teacher import RayPlacement
from rpd_jax.config.validation import ConfigError
from rpd_jax.ipc.text import described

# Ray replaces a loopback address that it is given by the machine's own, and listens on all of them, unless it takes
# this platform for one without clusters. It reads this variable when it is imported.
WITHOUT_CLUSTERS = "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"
ANSWER_SECONDS = 10.0  # for a cluster to accept a connection: Ray itself would try for minutes


@contextlib.contextmanager
def connected(placement: RayPlacement) -> Iterator[Any]:
    """The module `ray`, connected to the cluster; one that this process is connected to already stays connected.

    Raises:
      ConfigError: Ray is not installed, nobody answers at the address, or this machine has not what replicas need.
    """
    with _loopback_only(not placement.address):
        try:
            import ray
        except ImportError as error:
            raise ConfigError(f"teacher.placement='ray' needs Ray: pip install 'rpd_jax[ray]' ({error})") from error
        ours = not ray.is_initialized()
        if ours:
            _connect(ray, placement.address)
    try:
        check_cluster(ray, placement, local=ours and not placement.address)
        yield ray
    finally:
        if ours:
            ray.shutdown()


def _connect(ray: Any, address: str) -> None:
    if address:
        check_answer(address)
    elif not ray.util.get_node_ip_address().startswith("127."):
        raise ConfigError(
            f"teacher.ray.address='' cannot work: Ray was imported without {WITHOUT_CLUSTERS}=0 in the environment "
            "and would listen on all addresses of this machine; set that, or connect with ray.init() yourself"
        )
    options: dict[str, Any] = {"address": address} if address else {"address": "local", "include_dashboard": False}
    with _own_signal_handler(), warnings.catch_warnings():
        # Ray's children begin their own program at once, so that JAX's threads do not matter to them.
        warnings.filterwarnings("ignore", "os.fork", RuntimeWarning)
        try:
            # Its log would repeat every loss of a replica at length; ours says it in a line.
            ray.init(**options, logging_level="error", log_to_driver=False)
        except (ray.exceptions.RayError, RuntimeError, ValueError, OSError) as error:
            where = f"teacher.ray.address={address!r}"
            remedy = "this machine must be a node of the cluster, with its Ray version and token: see docs/ray.md"
            raise ConfigError(f"{where} cannot work: {described(error)}{f'; {remedy}' if address else ''}") from error


def check_answer(address: str) -> None:
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host.strip("[]"), int(port)), ANSWER_SECONDS).close()
    except (OSError, OverflowError) as error:
        raise ConfigError(
            f"teacher.ray.address={address!r} cannot work: no Ray cluster answers there ({described(error)}); "
            "`ray status` on its head says where it is"
        ) from error


def check_cluster(ray: Any, placement: RayPlacement, local: bool) -> None:
    """Raises ConfigError where the process is connected to another cluster, or this machine has no room."""
    found = ray.get_runtime_context().gcs_address
    if placement.address not in ("", found):
        raise ConfigError(f"teacher.ray.address={placement.address!r} cannot work: this process uses Ray at {found}")
    if problem := no_room(ray, placement):
        if local:
            raise ConfigError(f"teacher.ray.replicas={placement.replicas} cannot work: {problem}")
        logging.warning("teacher.ray.replicas=%d: %s", placement.replicas, problem)  # it may grow


def no_room(ray: Any, placement: RayPlacement) -> str:
    """What the cluster has too little of for all replicas, in words; empty: nothing."""
    there = ray.cluster_resources()
    for name, each in (("CPU", placement.cpus), ("GPU", placement.gpus)):
        needed, found = each * placement.replicas, there.get(name, 0.0)
        if needed > found:
            return f"they need {needed:g} {name}s, {each:g} each, and Ray has {found:g}"
    return ""


@contextlib.contextmanager
def _loopback_only(wanted: bool) -> Iterator[None]:
    """In the block a Ray that is imported and started listens on 127.0.0.1 only."""
    if not wanted or "ray" in sys.modules or WITHOUT_CLUSTERS in os.environ:
        yield
        return
    os.environ[WITHOUT_CLUSTERS] = "0"
    try:
        yield
    finally:
        del os.environ[WITHOUT_CLUSTERS]


@contextlib.contextmanager
def _own_signal_handler() -> Iterator[None]:
    """Ray puts its own handler for SIGTERM in place of the run's, which saves first: this puts the run's back."""
    handler = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        if handler is not None and threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, handler)
