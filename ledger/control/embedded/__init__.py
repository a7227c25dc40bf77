"""Embedded PostgreSQL: a private server under `DAICHO_HOME/postgres`, for people who configured none.

Nouns, used alike in every file here:

- **home**: the folder `DAICHO_HOME`. Everything of the server lies in `home/postgres`, see `layout`.
- **cluster**: the data folder that `initdb` makes; **server**: the postmaster and all its children.
- **account**: the operating-system user that the server runs as. It is ours, unless we are root.
- **claim**: a shared lock saying "I use this server". The last claim to end stops the server.
"""

from ledger.control.embedded.errors import EmbeddedServerBusy
from ledger.control.embedded.handle import EmbeddedPostgres

__all__ = ["EmbeddedPostgres", "EmbeddedServerBusy"]
