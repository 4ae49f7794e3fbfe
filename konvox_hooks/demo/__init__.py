"""`konvox-hooks demo`: the whole product in under a minute, on real processes.

`environment` starts everything in a temporary folder. `walkthrough` runs the steps and checks each of them.
"""
