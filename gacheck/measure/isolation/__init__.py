"""Processes of their own for what may hang, die or eat memory, and what became of them in words."""
