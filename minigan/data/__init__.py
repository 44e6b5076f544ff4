"""Data sets to uint8 images and labels, in memory or read block by block from files."""
