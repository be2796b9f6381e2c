"""Talking to worker processes on the same machine: shared memory and small typed messages over Unix sockets.

A worker answers requests with `sidecar.serve`, or serves a model with `slot_server.serve_model`; this side starts it by
`process.SidecarProcess`, and `supervised.Supervised` restarts it when it dies or hangs. `slots.SlotCalls` has several
calls to a model under way, whose arrays lie in `device.DeviceArrays`. No pickle, no port. Standard library and numpy.
"""
