"""End-effector delta actions: rotations, what the seven numbers mean (contracts), and deltas spread over windows."""
