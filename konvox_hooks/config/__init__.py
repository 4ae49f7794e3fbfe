"""The configuration: the settings and the sources of their values, the accounts, and the Konvox API client."""
