"""Trained recurrent networks: one measurement per file."""

from isophase.analysis.networks.fixed_points import find_fixed_points

__all__ = ["find_fixed_points"]
