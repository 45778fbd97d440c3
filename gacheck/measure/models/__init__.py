"""Ways to a model and its tokenizer."""
