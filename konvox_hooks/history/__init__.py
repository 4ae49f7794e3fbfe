"""Past events for the commands: the store that they are in, JSON Lines to carry them, and the log as it grows."""
