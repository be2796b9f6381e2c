"""Arrays in shared memory."""

import itertools
import os

import numpy as np
import pytest

from rpd_jax.ipc.arrays import ALIGNMENT, SharedArrays, memory_descriptor

SPECS = {"a": ((3, 2), "float32"), "flag": ((5,), "bool"), "n": ((), "int64"), "none": ((0, 4), "uint8")}


@pytest.fixture
def arrays():
    arrays = SharedArrays.create(SPECS)
    yield arrays
    arrays.close()


def test_views_are_zeroed_and_have_the_shapes_asked_for(arrays):
    assert {name: (array.shape, array.dtype.name) for name, array in arrays.items()} == SPECS
    assert all(not array.any() for array in arrays.values())


def test_two_mappings_see_each_others_writes(arrays):
    other = SharedArrays.attach(os.dup(arrays.descriptor), arrays.table())
    arrays["a"][1] = [5.0, 6.0]
    other["flag"][-1] = True
    np.testing.assert_array_equal(other["a"], [[0, 0], [5, 6], [0, 0]])
    np.testing.assert_array_equal(arrays["flag"], [False, False, False, False, True])
    other.close()


def test_arrays_are_aligned_and_apart(arrays):
    spans = sorted((array.ctypes.data, array.nbytes) for array in arrays.values() if array.nbytes)
    assert all(address % ALIGNMENT == 0 for address, _ in spans)
    assert all(first + size <= second for (first, size), (second, _) in itertools.pairwise(spans))


def test_memory_reserved_before_the_sizes_are_known():
    descriptor = memory_descriptor()
    arrays = SharedArrays.create({"x": ((2,), "int32")}, descriptor)
    assert arrays.descriptor == descriptor
    with pytest.raises(ValueError, match="must be empty"):
        SharedArrays.create({"x": ((2,), "int32")}, descriptor)
    arrays.close()


def test_nobody_can_shrink_the_memory(arrays):
    with pytest.raises(PermissionError):
        os.ftruncate(arrays.descriptor, 0)


def test_closing_leaves_views_readable_and_is_idempotent(arrays):
    view = arrays["a"]
    view[...] = 7
    descriptor = arrays.descriptor
    arrays.close()
    arrays.close()
    assert view.sum() == 42
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(descriptor)


def test_no_name_is_left_anywhere(arrays):
    assert "memfd:" in os.readlink(f"/proc/self/fd/{arrays.descriptor}")
    assert not os.get_inheritable(arrays.descriptor)


@pytest.mark.parametrize(
    ("specs", "message"),
    [
        ({}, "at least one array"),
        ({"x": ((2,), "object")}, "'x': dtype must be bool, integer or float, got 'object'"),
        ({"x": ((2,), "float99")}, "'x': unknown dtype 'float99'"),
        ({"x": ((-1,), "int8")}, "'x': shape must not be negative"),
    ],
)
def test_bad_specs(specs, message):
    with pytest.raises(ValueError, match=message):
        SharedArrays.create(specs)


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (["x", [1000], "float32", 0], "exceed the memory"),
        (["x", [1], "float32", 4], "multiple of 64"),
        (["x", [1], "float32", -64], "multiple of 64"),
        (["x", [1], "O", 0], "dtype must be"),
        (["x", [1]], "need rows"),
        (["x", "no", "float32", 0], "need rows"),
    ],
)
def test_a_bad_table_is_refused(arrays, row, message):
    descriptor = os.dup(arrays.descriptor)
    with pytest.raises(ValueError, match=message):
        SharedArrays.attach(descriptor, [row])
    os.close(descriptor)
