"""Memory planning: a graph and a target become a Plan, in which every byte and every transfer has its place."""
