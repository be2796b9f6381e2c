"""Loss functions: arrays in, numbers out."""
