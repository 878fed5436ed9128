"""Measures, the same for every world.

- `simtx.metrics.ledger.TransactionLedger`: counts and streams drift while a run goes on.
- `simtx.metrics.run.Run`: the result, with its summary.
- `simtx.metrics.replay`: the same figures from the event log alone.
- `simtx.metrics.intervals`: what several runs say together.

Nothing is imported here: `import simtx` stays quick.
"""
