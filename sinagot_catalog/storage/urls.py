"""Storage URLs: splits and joins URLs, and shows them without secrets. Standard library only."""


def is_url(path: str) -> bool:
    """Whether a path names a protocol that is not the local disk.

    Example:
        >>> is_url("s3://lab/data"), is_url("/data"), is_url("file:///data")
        (True, False, False)
    """
    return "://" in path and not is_file_url(path)


def is_file_url(path: str) -> bool:
    """Whether a path is a URL of the local disk."""
    return path.lower().startswith(("file://", "local://"))


def _links(url: str) -> list[str]:
    """The URLs of a chain, the outermost first."""
    return url.split("::")


def _pathed(links: list[str]) -> int:
    """The position of the URL in a chain that holds the path: the first with a protocol and a path."""
    return next((number for number, link in enumerate(links) if "://" in link), len(links) - 1)


def protocols_of(url: str) -> list[str]:
    """The protocols of a URL, the outermost first.

    Example:
        >>> protocols_of("s3://lab/x"), protocols_of("zip://raw::simplecache::s3://lab/a.zip")
        (['s3'], ['zip', 'simplecache', 's3'])
    """
    links = _links(url)
    return [link.partition("://")[0] for link in links if "://" in link or link is not links[-1]]


def normal_url(url: str) -> str:
    """A URL with its protocols in lower case and without slashes at the end of its path.

    Example:
        >>> normal_url("S3://Lab/x/"), normal_url("memory://"), normal_url("zip://raw/::a.zip")
        ('s3://Lab/x', 'memory://', 'zip://raw::a.zip')
    """
    links = [
        f"{protocol.lower()}{sep}{rest}" if sep else protocol
        for protocol, sep, rest in (link.partition("://") for link in _links(url))
    ]
    at = _pathed(links)
    protocol, sep, rest = links[at].partition("://")
    links[at] = f"{protocol}{sep}{rest.rstrip('/')}"
    return "::".join(links)


def join_url(url: str, path: str) -> str:
    """The URL of a path below another one.

    Example:
        >>> join_url("s3://lab", "a/b"), join_url("memory://", "a"), join_url("zip://raw::s3://lab/a.zip", "b")
        ('s3://lab/a/b', 'memory://a', 'zip://raw/b::s3://lab/a.zip')
    """
    if not path:
        return url
    links = _links(url)
    at = _pathed(links)
    links[at] += path if links[at].endswith("/") else f"/{path}"
    return "::".join(links)


def split_url(url: str) -> tuple[str, str]:
    """The folder of a URL or path, and the name in it.

    Example:
        >>> split_url("s3://lab/a/b.csv"), split_url("zip://raw/b::a.zip"), split_url("memory://a")
        (('s3://lab/a', 'b.csv'), ('zip://raw::a.zip', 'b'), ('memory://', 'a'))
    """
    links = _links(url) if "://" in url else [url]
    at = _pathed(links)
    protocol, sep, rest = links[at].rpartition("://")
    folder, _, name = rest.rpartition("/")
    links[at] = f"{protocol}{sep}{folder}"
    return "::".join(links), name
