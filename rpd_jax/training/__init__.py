"""The training program: population, rollouts, loops, evaluation and the trainer."""
