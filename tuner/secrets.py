"""What must not be shown or kept: the passwords and tokens of addresses and of the environment."""

import os
import re
from collections.abc import Iterator

from trainers.settings import Mistake

_SERVER = re.compile(r"(?i)\b(https?://)[^/\s]*@")
# A password may hold a slash there, as AWS's keys do; a path below sqlite:// or file:// may hold an @.
_OTHER = re.compile(r"(?i)\b((?!https?:|sqlite|file|local)[a-z][\w+.-]*://)(?:[^/@\s]*:\S*|[^/@\s]*)@")
_DATABASE = re.compile(r"(?i)\b((?:postgres(?:ql)?|mysql|mssql)[\w+]*://)\S*@")
_NAMES = r"passw(?:or)?d|passphrase|pwd|token|secret|signature|credential|(?:access|account|api|private)_?key"
_QUERY = re.compile(rf"(?i)((?:{_NAMES})(?:=|%3D)|\bsig=)[^&\s'\",;)]+")
_JSON = re.compile(rf"""(?i)(["'](?:\w+_)?(?:{_NAMES})["']\s*:\s*["'])[^"']+""")
_HEADER = re.compile(r"""(?i)(\bauthorization["']?\s*[:=]\s*["']?(?:\w+\s+)?)[^\s"',]+""")
_VARIABLE = re.compile(rf"(?i){_NAMES}|(?:^|_)(?:pass|pat)(?:_|$)")
_PLACE = re.compile(r"(?i)_(file|path|dir|folder)$")
_LINE_END = re.compile(r"[\r\n]+|\\n")
_SHORTEST = 6  # characters of a variable's value that is looked for; shorter ones stand in any text

_WAYS = {
    "tracking": "MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, or with a database ~/.pgpass",
    "database": "~/.pgpass or PGPASSWORD",
    "storage": "the variables or files that its file system reads, as ~/.aws/credentials",
}


def without_password(text: str) -> str:
    """Leave out of a text the users and passwords of addresses, and the secrets that the environment holds.

    Bytes in it that are no text, as a file's name may have, are told as Python shows them.

    >>> without_password("no answer from https://me:secret@host:5000/x?token=abc")
    'no answer from https://host:5000/x?token=…'
    """
    for pattern in (_SERVER, _DATABASE, _OTHER):
        text = pattern.sub(r"\1", text)
    for pattern in (_QUERY, _JSON, _HEADER):
        text = pattern.sub(r"\1…", text)
    for secret in _of_environment():
        text = text.replace(secret, "…")
    return text.encode(errors="backslashreplace").decode()  # files and MLflow take text alone


def why(error: BaseException) -> str:
    """The reason that an error gives, in one short line without passwords."""
    lines = without_password(str(error)).strip().splitlines() or [type(error).__name__]
    return lines[0].rstrip(".") if len(lines[0]) <= 200 else f"{lines[0][:199]}…"


def holds_password(address: str) -> bool:
    """Whether a password or a token stands in an address; a user's name alone is none.

    >>> holds_password("postgresql://me@host/x"), holds_password("postgresql://me:secret@host/x")
    (False, True)
    """
    users = [found[0] for found in (*_DATABASE.finditer(address), *_OTHER.finditer(address))]
    named = any(":" in user.partition("://")[2] for user in users)
    return named or bool(_SERVER.search(address) or _QUERY.search(address))


def refuse_password(key: str, address: str | None) -> None:
    """Refuse an address that would be kept, in `spec.yaml`, the record and MLflow, with a password in it.

    key: `tracking`, `database` or `storage`.

    Raises:
        Mistake: there is one; the sentence does not show it.
    """
    if address is not None and holds_password(address):
        raise Mistake(
            f"{key} is {without_password(address)!r} with a password in it, but it is kept in files "
            f"that people pass on: leave the password out, and give it with {_WAYS[key]}"
        )


def _of_environment() -> Iterator[str]:
    """The values of variables that are called secrets, the longest first; a path is none.

    Of a key that has several lines each line, too: a library prints it so, or with its line ends written out.
    """
    values = {
        value for name, value in os.environ.items() if _VARIABLE.search(name) and not _PLACE.search(name)
    }
    values |= {line for value in values for line in _LINE_END.split(value) if _is_of_a_key(line)}
    for value in sorted(values, key=len, reverse=True):
        if len(value) >= _SHORTEST and not os.path.exists(os.path.expanduser(value)):
            yield value


def _is_of_a_key(line: str) -> bool:
    """Whether it is long and without a space, as base64 is; a heading such as BEGIN PRIVATE KEY is not."""
    return len(line) >= 16 and " " not in line
