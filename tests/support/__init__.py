"""Helpers for tests: a shared Valkey, our processes, events and handlers."""
