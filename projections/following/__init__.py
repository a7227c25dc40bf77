"""Following: every projection of many tenants kept up to date by any number of processes.

leader    of a tenant: the one process that projects it, by a lock on the control database
stirring  a sign that something may have been recorded: a wake-up, or a database's counters that moved
session   the connections to a tenant's database, open only while there is work
"""

from projections.following.follower import Follower

__all__ = ["Follower"]
