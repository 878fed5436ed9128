"""Real brokers: an embedded durable log, and NATS JetStream."""
