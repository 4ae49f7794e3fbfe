"""Operators' tools: the command line `konvox-hooks`, its settings, its logs.

The top room: it may import every other package of konvox-hooks, and none of them imports from here.
"""
