"""Asking the teacher: at which steps, how long an answer holds, and what it costs."""
