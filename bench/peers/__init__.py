"""Beside other queues, in the same run and under the same load."""
