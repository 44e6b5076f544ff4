"""Files as data, never as code: whole files, other programs' weights, images, downloads, and what is said meanwhile."""
