"""Events in: the public listener that verifies requests and admits their events, and the registration with Konvox.

`gate` decides about a request (pure), `app` is the thin aiohttp edge around it, `registration` compares what is
registered with what should be.
"""
