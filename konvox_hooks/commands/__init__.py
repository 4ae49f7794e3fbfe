"""One module per command of `konvox-hooks`. `konvox_hooks.cli` imports it to run its click command, `command`."""
