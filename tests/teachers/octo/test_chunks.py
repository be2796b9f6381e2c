"""Acting with chunks, by hand. One environment, chunks of 3 actions of one dimension."""

import jax.numpy as jnp
import numpy as np

from teachers.octo import chunks

FIRST = jnp.array([[[1.0], [2.0], [3.0]]])
SECOND = jnp.array([[[10.0], [20.0], [30.0]]])
THIRD = jnp.array([[[100.0], [200.0], [300.0]]])
NO, YES = jnp.array([False]), jnp.array([True])


def test_predictions_for_the_present_are_averaged():
    """At step 2: the newest chunk's first action, the second's second, the first's third: (100 + 20 + 3) / 3 = 41.

    With decay log 2 the oldest counts 1, the next 1/2, the newest 1/4: (3 + 10 + 25) / 1.75."""
    plans = chunks.no_plans(1, 3, 1)
    for chunk, expected in ((FIRST, 1.0), (SECOND, (10.0 + 2.0) / 2), (THIRD, 41.0)):
        plans = chunks.add_plan(plans, chunk, NO)
        np.testing.assert_allclose(chunks.ensembled(plans), [[expected]], rtol=1e-6)
    np.testing.assert_allclose(chunks.ensembled(plans, float(np.log(2.0))), [[38.0 / 1.75]], rtol=1e-6)
    plans = chunks.add_plan(plans, FIRST, NO)  # the first one is too old by now
    np.testing.assert_allclose(chunks.ensembled(plans), [[(1.0 + 200.0 + 30.0) / 3]], rtol=1e-6)


def test_an_episode_knows_no_plans_of_the_one_before():
    plans = chunks.add_plan(chunks.no_plans(1, 3, 1), FIRST, YES)
    plans = chunks.add_plan(plans, SECOND, YES)
    np.testing.assert_allclose(chunks.ensembled(plans), [[10.0]])
