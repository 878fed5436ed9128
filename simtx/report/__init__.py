"""Tables, plots and message diagrams: what a user sees of a result. Needs nothing above `simtx.metrics`."""
