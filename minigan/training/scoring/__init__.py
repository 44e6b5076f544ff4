"""Scores of a run, of a folder of images, or of an .npz file: whose images, by which instrument, and what is found."""
