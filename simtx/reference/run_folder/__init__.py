"""The folder of a real run: its record, logs, audit log and seals, and the result that is read from it."""
