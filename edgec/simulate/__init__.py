"""Execution without hardware: the graph's reference (fast), and the plan on byte arrays (to the last transfer)."""
