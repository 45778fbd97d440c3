"""Watches a Trainer. Needs torch and the standard library alone: it also runs where gacheck is not installed."""
