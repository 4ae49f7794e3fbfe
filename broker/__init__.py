"""Events at rest: key names, Lua scripts, admission, queue with leases, log, dead letters, ledger, embedded server.

All that konvox-hooks keeps lives in one Redis or Valkey, and is written only through here. An event enters by
`admission`, is handed out and settled by `queue`, and can be seen through `eventlog`, `deadletters` and `ledger`.
"""
