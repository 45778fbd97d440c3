"""A survey: which classes there are, and each judged in a process of its own."""
