"""Attacks on gacheck: killed, damaged, fuzzed, lied to and starved. `make torture` runs them at length.

Each is a function (how many, an empty folder) → an `Outcome`; test_torture.py runs a short form of each.
"""
