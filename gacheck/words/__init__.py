"""The words of a verdict, all in one place: what is wrong, why, what it did, what fixes it."""
