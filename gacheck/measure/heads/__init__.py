"""Heads beyond the causal language model: which class, and the rows that it is trained on."""
