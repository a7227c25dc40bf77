"""Work over all streams, divided among processes: what rebuilds and verifications share.

range    streams that follow one another by name: those after `after`, up to `upto`
job      what is to be done with each range; it is sent to every process, which opens it once
worker   a process that opens the job and then does one range after the other
"""

from projections.workers.job import Job, OpenJob
from projections.workers.pool import WORKERS_MAX, perform, together, workers_for
from projections.workers.ranges import EVERYTHING, Range, ranges_of

__all__ = [
    "EVERYTHING",
    "Job",
    "OpenJob",
    "Range",
    "WORKERS_MAX",
    "perform",
    "ranges_of",
    "together",
    "workers_for",
]
