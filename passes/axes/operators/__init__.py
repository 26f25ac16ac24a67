"""Declarations of axes, one file an operator family."""
