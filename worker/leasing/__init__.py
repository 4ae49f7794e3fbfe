"""Which jobs are this worker's: claim them, keep their leases, settle them.

`claimer` asks for jobs, `notifications` hears of new ones, `inflight` knows what is in flight, `renewal` keeps the
leases of that, `settler` writes how the jobs ended.
"""
