"""Files in a folder of the user that one process leaves for the next."""

import hashlib
import json
import os
import tempfile
import time
from pathlib import Path

import platformdirs

# Bytes that the files of a folder may have together.
LIMIT = 200_000_000
_SUFFIX, _UNFINISHED = ".graph", ".part"
# Seconds after which nobody is writing to a file any more.
_ABANDONED = 3600.0
_OFF = ("", "0", "off", "no", "false")


def folder():
    """Where the files are, or None where there shall be none."""
    wanted = os.environ.get("SKGLMM_CACHE")
    if wanted is None:
        return Path(platformdirs.user_cache_dir("skglmm", appauthor=False))
    return None if wanted.strip().lower() in _OFF else Path(wanted).expanduser()


def read(key):
    """What was written under a key: a header and bytes; or None.

    Whatever is not exactly what was written, is not there.
    """
    where = folder()
    if where is None:
        return None
    path = where / (key + _SUFFIX)
    try:
        content = path.read_bytes()
        found = _unpacked(key, content)
    except (OSError, ValueError):
        return None
    try:
        os.utime(path)  # those that nobody reads go first
    except OSError:
        pass
    return found


def write(key, header, body):
    """Keep a header, which JSON can write, and bytes; return whether they are kept."""
    where = folder()
    if where is None:
        return False
    name = None
    try:
        where.mkdir(mode=0o700, parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(_UNFINISHED, dir=where)
        with os.fdopen(handle, "wb") as file:
            file.write(_packed(key, header, body))
        os.replace(name, where / (key + _SUFFIX))
    except OSError:
        if name is not None:
            _remove(name)
        return False
    _trim(where)
    return True


def files():
    """Paths of the files that there are, with their sizes and times of last use."""
    where, found = folder(), []
    try:
        paths = [] if where is None else list(where.glob("*" + _SUFFIX))
    except OSError:
        return []
    for path in paths:
        try:
            status = path.stat()
        except OSError:
            continue  # another process removes files, too
        found.append((path, status.st_size, status.st_mtime))
    return found


def clear():
    """Remove all files; return how many there were."""
    where = folder()
    if where is None:
        return 0
    for path in where.glob("*" + _UNFINISHED):
        _remove(path)
    return sum(_remove(path) for path, *_ in files())


def _packed(key, header, body):
    head = json.dumps({"key": key, "header": header}).encode()
    content = len(head).to_bytes(8, "big") + head + body
    return hashlib.sha256(content).digest() + content


def _unpacked(key, content):
    digest, content = content[:32], content[32:]
    if hashlib.sha256(content).digest() != digest:
        raise ValueError("not what was written")
    end = 8 + int.from_bytes(content[:8], "big")
    head = json.loads(content[8:end])
    if head["key"] != key:
        raise ValueError("another file's name")
    return head["header"], content[end:]


def _trim(where):
    """Remove what was used least recently, as far as there is too much."""
    found = sorted(files(), key=lambda file: file[2])
    total = sum(size for _, size, _ in found)
    for path, size, _ in found:
        if total <= LIMIT:
            break
        total -= size
        _remove(path)
    for path in where.glob("*" + _UNFINISHED):
        try:
            if time.time() - path.stat().st_mtime > _ABANDONED:
                _remove(path)
        except OSError:
            continue


def _remove(path):
    try:
        os.unlink(path)
    except OSError:
        return False
    return True
