"""Lowering: a quantised model to graphs of ops."""
