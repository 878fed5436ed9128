"""The protocols as a model for the explorer: nodes that play machines, what may go wrong, the properties, and stories."""
