"""The life of a tenant beyond its making: moved, exported, imported, deleted.

operation  one of these, under way with one tenant; its row in `control.tenant_operations` says how far it has
           come, so that calling it again after a kill goes on from there
fence      what keeps writers out of a tenant's database, in the database itself
copy       a tenant's log in another database, or in an archive: equal row by row before it is used

Each is a function over an open `Ledger`, may be repeated and interrupted at any point, and leaves a row in
`control.control_audit`.
"""
