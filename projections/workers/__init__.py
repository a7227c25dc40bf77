"""Work over all streams, divided among processes: what rebuilds and verifications share.

range    streams that follow one another by name
span     streams that began one after the other
job      what is to be done with each part, range or span; it is sent to every process, which opens it once
worker   a process that opens the job and then does one part after the other
"""

from projections.workers.job import Job, OpenJob
from projections.workers.pool import WORKERS_MAX, perform, together, workers_for
from projections.workers.ranges import EVERYTHING, Range, Span, ranges_of, spans_of

__all__ = [
    "EVERYTHING",
    "Job",
    "OpenJob",
    "Range",
    "Span",
    "WORKERS_MAX",
    "perform",
    "ranges_of",
    "spans_of",
    "together",
    "workers_for",
]
