"""Talking to worker processes on the same machine: shared memory and small typed messages over Unix sockets."""
