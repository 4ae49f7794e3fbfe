"""What commands print: results, tables, and how times and bodies are shown."""
