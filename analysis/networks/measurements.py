"""What is measured of a training run once its phases and bifurcations are known, a line for each."""

from isophase.analysis.networks.modulus_at_halfway import MODULUS_AT_HALFWAY

MEASUREMENTS = (MODULUS_AT_HALFWAY,)
