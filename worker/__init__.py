"""Events out: an arq worker that leases jobs in bulk, runs the users' handlers, retries and dead-letters.

`worker` holds the life of a worker, `runner` the run of one job. `leasing` knows which jobs are this worker's,
`running` runs handlers and decides what follows, `arq_function` lets a stock arq worker do the same.
"""
