"""How a GAN is measured: networks that give features, scores made of these, and protocols that say what is compared."""
