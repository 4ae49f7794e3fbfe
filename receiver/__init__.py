"""Events in: the public listener verifies requests, and makes their events durable before it answers.

The way of an event: `listener` accepts the connection, `connection` reads the request, `verification` decides about it,
`group_commit` gathers it with others into a batch, and `failover` writes the batch to Redis or, while Redis is away, to
the `spool`. A request that is not a plain delivery goes through aiohttp, in `app`. `responses` lists every answer, and
`paths` the paths.
"""
