"""The papers' generators and discriminators, and the tables of models and normalizations."""
