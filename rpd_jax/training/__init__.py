"""The training program: population, rollouts, loops, evaluation, the trainer, and the students that come of it.

`rpd_jax.train` and `rpd_jax.evaluate` are its doors; `rpd_jax.load_student` gives a trained member that acts.
"""
