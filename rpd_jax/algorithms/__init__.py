"""Algorithm families: how a population learns from its rollouts, and variants of them as data."""
