"""The folder that `gacheck attach` puts on the PYTHONPATH of a training: Python imports `sitecustomize` from it."""
