"""The configuration: settings and where their values come from, accounts, and the API client that they describe."""
