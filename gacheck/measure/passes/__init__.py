"""One short training under the real Trainer, and the right answer beside it."""
