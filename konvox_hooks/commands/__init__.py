"""One module per command of `konvox-hooks`. Each has a `command`; `konvox_hooks.cli` imports it when it is wanted."""
