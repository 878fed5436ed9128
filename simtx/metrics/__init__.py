"""What is counted in a run, in whatever world it took place: transactions, drift, the event log, and the numbers that follow."""
