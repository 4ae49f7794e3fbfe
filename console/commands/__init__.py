"""One module per command of `konvox-hooks`. Each exposes `command`; `console.cli` imports it when it is asked for."""
