"""Many runs: grids, the papers' tables and figures, how an experiment deviates from them."""
