"""edgec: puts small language models on microcontrollers, and proves that the C computes what was simulated."""

__version__ = "0.1.0"
