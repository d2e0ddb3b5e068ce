"""Cost models: cycles of kernel calls, transfers and whole plans, from the target's numbers."""
