"""Raw facts on disk, a record a kind: what was planned and measured, and where. Verdicts are never stored."""
