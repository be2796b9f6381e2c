"""Environments by name ("suite:task"), behind one protocol."""
