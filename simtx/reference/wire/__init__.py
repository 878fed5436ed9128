"""What travels between processes: sealed connections, frames, versions of events."""
