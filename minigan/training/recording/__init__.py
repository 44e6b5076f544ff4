"""What a training leaves in its folder while it runs: log, grids of samples, event files, and when each is due."""
