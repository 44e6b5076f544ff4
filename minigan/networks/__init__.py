"""The papers' generators and discriminators, tables of models and normalizations, and a way to watch a network work."""
