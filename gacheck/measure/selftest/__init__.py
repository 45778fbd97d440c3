"""Planted faults, and whether each is found."""
