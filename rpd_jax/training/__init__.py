"""The training program: population, rollouts, loops, evaluation, the trainer, and the students that come of it.

Call it by `rpd_jax.train` and `rpd_jax.evaluate`; `rpd_jax.load_student` gives a trained member that acts.
"""
