"""Teachers in processes of their own: `teacher.py` for the learner, `server.py` for the process (no jax there)."""

ROWS = 32
"""Observations in one request, if nobody says otherwise."""
