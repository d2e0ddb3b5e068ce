"""Compression: each stage turns a float model into a smaller one. One file a method."""
