"""The queue against the same work without a queue, and against its peers: see README.md."""
