"""The encrypted .queuedb file, format 1. See docs/reference/file-format.md."""
