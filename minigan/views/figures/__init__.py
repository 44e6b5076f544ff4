"""The papers' figures, drawn from runs."""
