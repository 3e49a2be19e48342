"""Remembers. One contract (port.py), several memories."""
