"""Files as data, never as code: whole files, other programs' weights, pictures, downloads."""
