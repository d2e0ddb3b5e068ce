"""Evaluation: what a model is worth, in numbers with their protocol beside them."""
