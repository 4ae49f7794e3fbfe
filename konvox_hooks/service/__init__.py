"""The running service: the life of a receiver and of a worker, and what processes of both need."""
