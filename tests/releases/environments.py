"""The environments of the releases, under the name by which docs/make_examples.py asks for them."""

from tests.environments import CHECKOUT, environment_for

__all__ = ["CHECKOUT", "environment_for"]
