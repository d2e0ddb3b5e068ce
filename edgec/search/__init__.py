"""Finds what would make a model meet a demand: changes of its recipe, each planned anew before it is named."""
