"""The graph IR: what is computed, in which order, on which types. Nothing about memory or time."""
