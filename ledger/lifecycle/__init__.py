"""The life of a tenant beyond its making: moved, exported, imported, deleted.

operation  one of these, under way with one tenant (ledger/control/operations.py); how far it has come stands
           in the control database, so that asking for it again after a kill goes on from there
fence      what keeps writers out of a tenant's database, in the database itself (ledger/control/fence.py)
copy       a tenant's log in another database, or in an archive: equal row by row before it is used

Each is a function over an open `Ledger`, may be repeated and interrupted at any point, and leaves a row in
`control.control_audit`.
"""

from ledger.lifecycle.deleting import DeletionReport, delete_tenant
from ledger.lifecycle.exporting import ExportReport, export_tenant
from ledger.lifecycle.importing import ImportReport, import_tenant
from ledger.lifecycle.moving import MoveReport, cancel_move, move_tenant

__all__ = [
    "DeletionReport",
    "ExportReport",
    "ImportReport",
    "MoveReport",
    "cancel_move",
    "delete_tenant",
    "export_tenant",
    "import_tenant",
    "move_tenant",
]
