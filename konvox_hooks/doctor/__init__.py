"""The checks of `konvox-hooks doctor`: `examination` runs them, `findings` says what one finds, the others check."""
