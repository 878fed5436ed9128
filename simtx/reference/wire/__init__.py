"""The wire between processes: sealed connections, frames, versions of events."""
