"""Decides. Pure rules over frozen values: no clock, disk, thread, random or log."""
