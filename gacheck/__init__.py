"""gacheck: does the loss depend on `gradient_accumulation_steps`, and which fault is it?"""

__version__ = "0.1.0"
