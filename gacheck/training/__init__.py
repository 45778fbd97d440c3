"""Effects: the only code that imports torch, transformers and datasets."""
