"""The run of users' handlers: what they are given, how long they may take, and what follows from how they ended.

`dispatcher` runs the handlers of one job, `timeouts` and `threads` bound each run, `context` and `once` are what
handlers are given, `verdicts` decides what follows, `watchdog` and `lifespans` deal with code that does not end.
"""
