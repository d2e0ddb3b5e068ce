"""Passes: Graph → Graph, one file a pass; each leaves a graph that `edgec/ir/verify.py` accepts."""
