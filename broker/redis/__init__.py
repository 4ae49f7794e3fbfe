"""How we talk to Redis or Valkey: connections, pipelining, sentinels, scripts, durability, and the embedded server.

Used by the rest of `broker`, and by the application to connect.
"""
