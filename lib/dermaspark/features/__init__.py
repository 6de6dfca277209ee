"""Computed features of a photograph: colour and shape, patches and covariance, fitted without labels."""

from dermaspark.features.featuriser import FeatureSpec, Featuriser, Scale

__all__ = ["FeatureSpec", "Featuriser", "Scale"]
