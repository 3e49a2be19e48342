"""Speaks HTTP. Dialects translate; they never decide."""
