"""Lattices of rings and of Kuramoto oscillators, and uncoupled rings: one measurement per file."""
