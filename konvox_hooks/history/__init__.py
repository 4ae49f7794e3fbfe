"""Past events for the commands: open the store, read and write JSON Lines, follow the event log."""
