"""Events at rest: all that konvox-hooks keeps is in one Redis or Valkey, and is written only through here.

An event enters through `admission`, and `queue` leases it to workers and settles it. `event_log`, `dead_letters`,
`ledger` and `audit` show what became of it; they share `deliveries`. Names of keys are in `keys`, the form of ids in
`ids`, what is stored of an event in `records`. `redis` holds the connections.
"""
