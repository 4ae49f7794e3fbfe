"""The commands that are the service: `receiver`, `worker`, `serve` and `dev`. The others are in `commands`."""
