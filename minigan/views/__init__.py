"""What people look at: the report of runs, the page that follows one, charts; it reads runs and trains nothing."""
