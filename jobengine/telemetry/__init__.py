"""Overhears: what the house tells those who watch it. The engine never knows it."""
