"""What is measured of a lattice once its lengths are known, a line for each; its file holds all the rest of it."""

from isophase.analysis.lattices.fronts import FRONTS
from isophase.analysis.lattices.growth import GROWTH

MEASUREMENTS = (GROWTH, FRONTS)
