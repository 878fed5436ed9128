"""The explorer: every reachable state of any model. It knows states, steps and predicates, and no protocol."""
