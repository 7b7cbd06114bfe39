"""Secrets in addresses: find them, and mask them in any text that is shown.

A password or a token can stand before the host (`ftp://ann:pw@host`, `https://token@host`) or in the query
(`?sig=…`, `&X-Amz-Signature=…`). Every error, every line of output and every event goes through `masked`.
"""

import re
from contextlib import suppress

MASK = "…"

_USER = re.compile(
    r"""
    (?P<scheme> \b[A-Za-z][A-Za-z0-9+.-]{0,40}:// )
    (?: (?P<user> [^\s/:@?\#"'<>]{0,256} ) :
        (?! \d{1,5} (?: [/?\#] | $ ) )                                # a port, not a password
        (?: [^/\n@]{0,512} (?: @ [^/\s@"'<>]{0,512} )*?              # what the standard allows, and @
          | (?: (?! :// ) [^\s"'<>] ){0,512}? ) @ (?= [^\s/@"'<>]+ (?: [/\s"'<>,;)] | $ ) )
      | (?P<token> [^\s/:@?\#"'<>]{1,512} ) @
    )
    """,
    re.VERBOSE,
)
_TOKEN_SCHEMES = re.compile(r"(?:https?|webhdfs|(?:git|hg|svn)(?:\+\w+)?)://\Z", re.IGNORECASE)
"""Schemes in which a name alone before the host is a token; elsewhere it is a user or a container."""

_NAME = (
    r"[\w.-]*(?:signature|token|secret|passw|password|credential|authorization|key[_-]?id|key)"
    r"|(?:[\w.-]*[-_.])?(?:sig|sas|pwd|auth)"
)
_ADDRESS = re.compile(r"[A-Za-z][A-Za-z0-9+.-]{0,40}://[^\s\"'<>]+")
_QUERY = re.compile(
    rf"(?P<name>(?:[?&;#]|%26|%3F)(?:amp;)?(?:{_NAME})(?:=|%3D))[^&;\s\"'<>#]+", re.IGNORECASE
)
_REFERENCE = ("github://", "gitlab://")
"""Schemes in which `org:repository@branch` stands before the path."""


def masked(text: str) -> str:
    """Return a text that may be shown: `…` replaces the secrets of every address in it.

    Example:
        >>> masked("ftp://ann:pw@host/lab cannot be read")
        'ftp://ann:…@host/lab cannot be read'
        >>> masked("https://token@host/x?v=1&sig=abc"), masked("abfss://box@lab.net/x")
        ('https://…@host/x?v=1&sig=…', 'abfss://box@lab.net/x')
        >>> masked("simplecache::sftp://ann:p@ss@host/x")
        'simplecache::sftp://ann:…@host/x'
    """
    if "://" not in text:
        return text
    if "@" in text:
        text = _USER.sub(_without_password, text)
    return _ADDRESS.sub(lambda found: _QUERY.sub(rf"\g<name>{MASK}", found[0]), text)


def is_secret(address: str) -> bool:
    """Whether an address contains a password, a token or a signature.

    Example:
        >>> is_secret("ftp://ann:pw@host/lab"), is_secret("s3://lab/ws"), is_secret("https://h/x?sig=a")
        (True, False, True)
    """
    return "://" in address and masked(address) != address


def mask_error(error: BaseException | None) -> None:
    """Mask the messages of a foreign exception and its causes: a traceback shows them all."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        if any(isinstance(value, str) and "://" in value for value in error.args):
            error.args = tuple(masked(value) if isinstance(value, str) else value for value in error.args)
        for name in ("filename", "filename2", "message", "url"):
            value = getattr(error, name, None)
            if isinstance(value, str) and is_secret(value):
                with suppress(AttributeError, TypeError):
                    setattr(error, name, masked(value))
        error = error.__cause__ or error.__context__


def _without_password(match: re.Match[str]) -> str:
    scheme, user, token = match["scheme"], match["user"], match["token"]
    if scheme.lower().endswith(_REFERENCE):
        return match[0]
    if _TOKEN_SCHEMES.search(scheme):
        return f"{scheme}{MASK}@"
    return match[0] if token is not None else f"{scheme}{user}:{MASK}@"
