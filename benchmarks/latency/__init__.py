"""Latency: how long after a POST was sent its handler starts, at 200 of them a second."""
