"""A run: the GAN algorithm, the loop around it, its folder, checkpoints, samples, scores and diagnoses."""
