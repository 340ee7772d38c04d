"""Hide what is secret in an address before it is recorded, logged or shown."""

from __future__ import annotations

import re

SECRET_PARAMETER = re.compile(
    r"([?&;#][^=&;#]*(?:key|token|secret|pass(?!enger)|pwd|(?<![a-z])pw(?![a-z])|auth|bearer|jwt|session|sig"
    r"|credential|app_?id|client|subscription)[^=&;#]*=)[^&;#]*",
    re.IGNORECASE,
)
_VARIABLE = re.compile(r"%\(ENV_\w+\)s")


def mask_url(url: str) -> str:
    """Return an address with passwords, the values of parameters named like a secret, and variables hidden.

    What comes out of the environment is taken for secret; the address is given as it was written.
    """
    url = re.sub(r"^(\w+://)[^/?#]*@", r"\1***@", url)
    url = SECRET_PARAMETER.sub(r"\1***", url)
    return _VARIABLE.sub("***", url)


def mask_bad_url(text: str) -> str:
    """Return what should be an address, and need not be one, with all hidden that may be a login or a secret's value.

    Names of variables stay, as one of them may be what is wrong.
    """
    text = re.sub(r"^([\w\s+.-]*:?/*).*@", r"\1***@", text, flags=re.DOTALL)
    return SECRET_PARAMETER.sub(r"\1***", text)
