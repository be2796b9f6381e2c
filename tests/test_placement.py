"""Arrays stay numpy's or JAX's, and a buffer of steps equals their stack."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rpd_jax import placement


@pytest.mark.parametrize("xp", [np, jnp])
def test_a_buffer_of_steps_equals_their_stack(xp):
    steps = [{"a": xp.arange(6, dtype=xp.uint8).reshape(2, 3) + xp.uint8(t), "b": np.float32(t)} for t in range(4)]
    buffer = placement.StepBuffer(4)
    for t, step in enumerate(steps):
        buffer.write(t, step)
    whole = buffer.tree()
    assert isinstance(whole["a"], jax.Array if xp is jnp else np.ndarray) and whole["a"].dtype == np.uint8
    np.testing.assert_array_equal(whole["a"], np.stack([step["a"] for step in steps]))
    np.testing.assert_array_equal(whole["b"], np.float32([0, 1, 2, 3]))
    np.testing.assert_array_equal(steps[0]["a"], np.arange(6).reshape(2, 3))  # what was written is not consumed


@pytest.mark.parametrize("xp", [np, jnp])
def test_other_steps_are_refused(xp):
    buffer = placement.StepBuffer(2)
    buffer.write(0, {"a": xp.zeros((2, 3), xp.int32)})
    with pytest.raises(ValueError, match="step 1: need"):
        buffer.write(1, {"b": xp.zeros((2, 3), xp.int32)})
    for other in (xp.zeros((1, 3), xp.int32), xp.zeros((2, 3), xp.float32)):
        with pytest.raises(ValueError, match=r"step 1: need int32 of shape \(2, 3\), got"):
            buffer.write(1, {"a": other})


@pytest.mark.parametrize("xp", [np, jnp])
def test_joining_keeps_the_kind(xp):
    arrays = [xp.ones((2, 3)), xp.zeros((2, 3))]
    kind = jax.Array if xp is jnp else np.ndarray
    for got, expected in (
        (placement.stack(arrays), np.stack(arrays)),
        (placement.concatenate(arrays), np.concatenate(arrays)),
    ):
        assert isinstance(got, kind)
        np.testing.assert_array_equal(got, expected)


@pytest.mark.parametrize("xp", [np, jnp])
@pytest.mark.parametrize("indices", [[], [3], [0, 4, 4], [1, 0, 3, 2, 4]])
def test_rows_are_those_asked_for(xp, indices):
    x = xp.arange(10).reshape(5, 2)
    np.testing.assert_array_equal(placement.rows(x, np.array(indices, int)), np.asarray(x)[np.array(indices, int)])


def test_arrays_of_the_host_are_seen_without_a_copy():
    x = jnp.arange(1000.0)
    assert not placement.on_accelerator(x) and not placement.on_accelerator(np.zeros(2))
    assert placement.host_view(x).ctypes.data == x.unsafe_buffer_pointer()


@pytest.mark.gpu
def test_arrays_of_an_accelerator_stay_there():
    x = jnp.arange(1000.0)
    assert placement.on_accelerator(x) and placement.host_view(x) is x
    buffer = placement.StepBuffer(2)
    buffer.write(0, x)
    assert placement.on_accelerator(buffer.tree()) and placement.first_gpu().startswith("cuda:")
