"""Konvox itself, as far as its documentation goes: events, signatures, API client, sandbox.

Nothing in here imports from the other packages of konvox-hooks; everything else may import from here.
"""
