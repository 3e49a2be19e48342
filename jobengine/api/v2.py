"""The native API: all that the engine can do, as one dialect.

Its endpoints are in the modules named here; what they have in common is in v2_heads.py.
"""

from jobengine.api import v2_bulk, v2_looks, v2_queues, v2_schedules, v2_work
from jobengine.api.v2_heads import V2

__all__ = ["V2", "v2_bulk", "v2_looks", "v2_queues", "v2_schedules", "v2_work"]
