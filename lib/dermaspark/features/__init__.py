"""Computed features of a photograph: colour and shape, patches and covariance, fitted without labels."""

from dermaspark.features.featuriser import FeatureSpec, Featuriser, Scale, fit

__all__ = ["FeatureSpec", "Featuriser", "Scale", "fit"]
