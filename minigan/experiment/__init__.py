"""What is to be done, as data: an experiment's options, presets, profiles of sources, the papers' tables."""
