"""`python -m konvox_hooks` is the command line `konvox-hooks`."""

from konvox_hooks.cli import main

main()
