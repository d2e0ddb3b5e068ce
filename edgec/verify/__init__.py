"""Verification: the same model on every backend, compared bit for bit, tensor by tensor."""
