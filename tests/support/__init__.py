"""Helpers for tests: a Valkey to share, processes of ours, events and handlers to try things with."""
