"""`python -m launch.VERB` in a checkout: the programs are those of `rpd_jax.launch`, which alone is installed."""

from pathlib import Path

__path__ = [str(Path(__file__).resolve().parents[1] / "rpd_jax" / "launch")]
