"""Labels of several members' rollouts, one after the other, as the tests compare with them."""

import jax
import jax.numpy as jnp

from rpd_jax.guidance.labels import charge_dense, label_member


def label_rollout(teacher, instruction, observation, starts, seeds, iteration, batch_size, ledgers):
    """Labels [T, G, N, ...] of the members' observations [T, G, N, ...]; their ledgers are charged."""
    answers = []
    for g, (seed, ledger) in enumerate(zip(seeds, ledgers, strict=True)):
        mine = {name: x[:, g] for name, x in observation.items()}
        answers.append(label_member(teacher, instruction, mine, starts[:, g], seed, iteration, batch_size))
        charge_dense(ledger, answers[-1], batch_size, 1.0)
    return jax.tree.map(lambda *x: jnp.stack(x, axis=1), *answers)
