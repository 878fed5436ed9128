"""What is measured, the same for every world.

- `simtx.metrics.ledger.Ledger`: counts and streams drift while a run goes on.
- `simtx.event_log.trace.Trace`: the event log of a run.
- `simtx.metrics.run.Run`: the result, with its summary.
- `simtx.metrics.replay`: the same figures from the event log alone.
- `simtx.metrics.views`: how results learn to draw themselves.

Nothing is imported here: `import simtx` stays quick.
"""
