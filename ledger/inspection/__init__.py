"""Looking at a whole installation: how every tenant stands, and whether what daicho works with is in order.

status   of a tenant: its head, how far its tables have come, what it takes, what is under way with it
problem  of a status: something that is wrong and does not pass by itself, and what to do
finding  of the doctor (ledger/control/guards.py): something of a server, a store or a machine that is not as
         daicho needs it

Looking changes nothing.
"""

from ledger.inspection.installation import inspect_installation
from ledger.inspection.status import StuckRun, TenantStatus, statuses

__all__ = ["StuckRun", "TenantStatus", "inspect_installation", "statuses"]
