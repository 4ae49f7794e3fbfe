"""The measures. Each is a file whose `contenders` are its rows of the table, ours first; `quick` samples are short."""
