"""Fair comparisons of variants: the same grid, budget and seeds for each, and verdicts on what was claimed."""

from rpd_jax.comparison.claims import Claim, Verdict, better, close_to, worse
from rpd_jax.comparison.experiment import Arm, Case, Experiment, grid
from rpd_jax.comparison.runner import compare

__all__ = ["Arm", "Case", "Claim", "Experiment", "Verdict", "better", "close_to", "compare", "grid", "worse"]
