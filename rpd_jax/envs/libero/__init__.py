"""The suite "libero": LIBERO's 130 tasks, simulated by robosuite in processes of a virtual environment of their own."""
