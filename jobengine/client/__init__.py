"""ASKS: speaks to a daemon, or to an engine in this process. Knows the wire only."""
