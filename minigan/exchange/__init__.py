"""Weights from and to other tools: what they call the layers, how they order the axes, which files they read."""
