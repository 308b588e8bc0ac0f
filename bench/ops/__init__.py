"""Estimators, divergences and losses: pure functions of tensors and floats, each with its source."""
