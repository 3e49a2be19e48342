"""Lives: the only place where the real clock, environment, signals and sockets are."""
