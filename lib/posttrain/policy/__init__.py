"""A policy: a model with its adapter and value head."""
