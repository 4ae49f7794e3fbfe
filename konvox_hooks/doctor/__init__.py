"""What `konvox-hooks doctor` looks at. `examination` runs the checks; each module holds those of one part."""
