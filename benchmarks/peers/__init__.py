"""The programs of our peers, each run by its own interpreter, and `install`, which brings what they need.

They import nothing of ours but the event model, `workload` and `marks`: their environments hold nothing else.
"""
