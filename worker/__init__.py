"""Events out: an arq worker that leases jobs in bulk, runs the users' handlers, retries and dead-letters.

`worker` holds the loop, `dispatch` runs one event's handlers, `policy` decides what becomes of it (pure), `settling`
writes that down in batches, `renewal` keeps the leases of what is running.
"""
