"""Whether the count of items reaches the loss, read from the source; nothing is imported of what is read."""
