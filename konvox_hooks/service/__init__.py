"""The running service: the lives of a receiver and of a worker, and the parts that both need.

- `receiver`, `worker`: what happens from the start of a role until its end.
- `supervisor`, `processes`, `reloader`: run roles as child processes.
- `process`, `listeners`, `admin`, `logging`, `file_limit`: what every role needs.
- `forced_exit`: ends a process although users' code does not end.
"""
