"""Student policies: networks, distributions and the normalisation of observations."""
