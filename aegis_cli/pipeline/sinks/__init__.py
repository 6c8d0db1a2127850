"""Where the results of a pipeline go, and how each kind gets every row exactly once."""
