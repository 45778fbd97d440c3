"""Rendering: an Analysis in, text or bytes out. Never computes, prints or opens files."""
