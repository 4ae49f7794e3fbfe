"""What commands print: JSON, tables, texts, and the formats of times and bodies."""
