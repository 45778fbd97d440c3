"""Measures: models, text, and passes under the real Trainer. Alone it imports transformers and datasets."""
