"""What networks are made of: layers, normalizations of weights and features, initializers, losses, optimizers."""
