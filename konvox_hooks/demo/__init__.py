"""`konvox-hooks demo`: the whole product in under a minute, on real processes.

`stage` sets everything up in a temporary folder, `story` goes through what a newcomer should see, and checks each step.
"""
