"""The matrix of faults on real processes, again and again, at random moments: `make chaos`.

`rows` holds one module per fault. A row breaks something while a `client` delivers and a `handler` writes down what it
does; `counting` says what was lost, doubled or forged; `runner` repeats it, and `report` prints the table.
"""
