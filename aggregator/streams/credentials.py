"""The options of the sections `[credential_NAME]`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Annotated, Any

from aggregator.config.parsing import options_of
from aggregator.config.settings import Doc, Option, SafeName, Settings, Text
from aggregator.config.tables import TableText, read_section


class CredentialSettings(Settings, frozen=True, kw_only=True):
    """[credential_NAME]: who asks a platform. Values are best given as %(ENV_NAME)s."""

    consumer_key: Annotated[Text, Doc("OAuth 1.0a: the application's key")] | None = None
    consumer_secret: Annotated[Text, Doc("OAuth 1.0a: the application's secret")] | None = None
    access_token: Annotated[Text, Doc("OAuth 1.0a: the account's token")] | None = None
    access_token_secret: Annotated[Text, Doc("OAuth 1.0a: the account's secret")] | None = None
    bearer_token: Annotated[Text, Doc("a bearer token")] | None = None
    token: Annotated[Text, Doc("a bearer token, as Mastodon calls it")] | None = None
    username: Annotated[Text, Doc("a name, for a password")] | None = None
    password: Annotated[Text, Doc("the password")] | None = None
    pool: (
        Annotated[SafeName, Doc("the pool that it belongs to: streams with pool = POOL take one that is free")] | None
    ) = None

    @property
    def kind(self) -> str:
        """`oauth1`, `bearer`, `token` or `basic`."""
        if self.consumer_key:
            return "oauth1"
        return "basic" if self.username else "token" if self.token else "bearer"

    def __repr__(self) -> str:
        """Return the kind alone, because the text may end up in a traceback."""
        return f"CredentialSettings({self.kind})"


_FORMS = (
    ("consumer_key", "consumer_secret", "access_token", "access_token_secret"),
    ("bearer_token",),
    ("token",),
    ("username", "password"),
)


def _faults_of_credential(settings: CredentialSettings) -> Iterator[tuple[str | None, str]]:
    secrets = [option.name for option in options_of(CredentialSettings) if option.name != "pool"]
    given = [name for name in secrets if getattr(settings, name)]
    begun = [form for form in _FORMS if any(name in given for name in form)]
    words = " or ".join(" ".join(form) for form in _FORMS)
    if len(begun) != 1:
        yield None, f"{'no credential' if not begun else 'several credentials in one section'}; allowed: {words}"
    for form in begun[:1]:
        yield from ((name, f"missing beside {given[0]}") for name in form if name not in given)


class CredentialTable:
    """The reader of the sections `[credential_NAME]` (a `config.tables.TableReader`)."""

    live = False
    # here, because what a stream left behind is to be seen when no stream is configured any more
    overview = "aggregator.streams.query.overview:OVERVIEW"

    def purpose(self) -> str:
        """Return, in words, what a section describes."""
        return "Who asks a platform: of OAuth 1.0a all four values, or a bearer token, or a name and a password."

    def options(self) -> tuple[Option, ...]:
        """Return the options of a section."""
        return options_of(CredentialSettings)

    def open_options(self) -> tuple[tuple[str, str, str], ...]:
        """Return nothing: every option has a fixed name."""
        return ()

    def read(self, text: TableText) -> Mapping[str, CredentialSettings]:
        """Return the credentials by name; faults go into the document."""
        found = {}
        for section in text.sections:
            parsed: CredentialSettings | None = read_section(text, section, CredentialSettings, _faults)
            if parsed is not None:
                found[section.name] = parsed
        return found


def _faults(settings: Any) -> Iterable[tuple[Any, str]]:
    return _faults_of_credential(settings)


TABLE = CredentialTable()
