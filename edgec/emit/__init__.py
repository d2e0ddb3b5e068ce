"""Emission: a plan becomes a C project. Everything here is a function of the plan; arithmetic lives in kernels/."""
