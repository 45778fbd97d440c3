"""Other releases of transformers: which there are, and an environment with each."""
