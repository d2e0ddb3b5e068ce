"""What of a model is redundant: explained variance, replacement and ablation of blocks, sensitivity to each method."""

VERSION = 1  # of what analyses compute: raising it makes every kept number stale
