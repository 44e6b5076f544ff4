"""Images that others made, in whatever form they come: files of every kind, arrays."""
