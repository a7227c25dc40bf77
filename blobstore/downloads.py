"""What a presigned URL makes the server say with a blob, so that a browser saves it under its name.

Both texts end up in a response's headers: nothing in them may end a header or a quoted string.
"""

import re
from urllib.parse import quote

from blobstore.protocol import URL_SECONDS_MAX

_TOKEN = r"[A-Za-z0-9!#$%&'*+.^_`|~-]+"  # noqa: S105  RFC 9110, section 5.6.2
_MEDIA_TYPE = re.compile(rf'{_TOKEN}/{_TOKEN}(\s*;\s*{_TOKEN}=({_TOKEN}|"[^"\\\x00-\x1f\x7f-\uffff]*"))*')
_FILE_NAME_CHARACTERS_MAX = 255


def attachment(file_name: str) -> str:
    """The Content-Disposition (RFC 6266) that saves a body as `file_name` and never shows it.

    Twice: in ASCII for old readers, and exact (RFC 8187). Slashes, quotes and control characters become `_`.
    """
    shown = re.sub(r'[\x00-\x1f\x7f-\x9f"\\/\ud800-\udfff]', "_", file_name)[:_FILE_NAME_CHARACTERS_MAX]
    plain = re.sub(r"[^\x20-\x7e]|%", "_", shown)
    return f"attachment; filename=\"{plain or 'blob'}\"; filename*=UTF-8''{quote(shown or 'blob', safe='')}"


def require_download(content_type: str, expires_seconds: int) -> None:
    """Raise ValueError for what is no media type (RFC 9110), or a time no server would sign for."""
    if not _MEDIA_TYPE.fullmatch(content_type):
        raise ValueError(f"A content type is like text/html; charset=utf-8, not {ascii(content_type)[:80]}")
    if not 1 <= expires_seconds <= URL_SECONDS_MAX:
        raise ValueError(f"A URL is good for 1 to {URL_SECONDS_MAX} seconds, not {expires_seconds}")
