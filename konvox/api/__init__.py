"""The parts of the Konvox API client. Users import `konvox.client`.

`calls` has the calls of each resource, `checks` their arguments' rules, `transport` sends, `answers` reads answers.
"""
