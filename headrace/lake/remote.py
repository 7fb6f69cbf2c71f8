"""DuckDB on the store that holds the lake: where the files are, how to log in, and what a refusal means."""

import os
from pathlib import Path
from typing import TYPE_CHECKING

from headrace.errors import ConfigError, HeadraceError, TransientError
from headrace.lake import layout, manifest
from headrace.protocol.names import lake_folder

if TYPE_CHECKING:
    import duckdb

    from headrace.config.connect import Azure, Store

_THREADS = 8
_REFUSED = ("(HTTP 401", "(HTTP 403", "AuthenticationFailed", "AuthorizationFailure", "AuthorizationPermissionMismatch")
_MISSING = ("NoSuchBucket", "ContainerNotFound")


def root(store: "Store") -> str:
    """The lake's folder as DuckDB names it, without a slash at its end."""
    if store.kind == "folder":
        return str(Path(store.folder or ".").absolute())
    return f"{'s3' if store.kind == 's3' else 'azure'}://{store.bucket}"


def where(store: "Store") -> str:
    """The lake's address, for people."""
    if store.kind == "folder":
        return str(store.folder)
    return store.endpoint if store.azure is None else store.azure.url or f"account {store.azure.account}"


def attach(lake: "duckdb.DuckDBPyConnection", store: "Store") -> None:
    """Let `lake` read the store. ConfigError when the settings are wrong, or DuckDB does not support them."""
    if store.kind == "folder":
        if store.folder is None or store.folder.is_file():  # a folder that is not there yet holds nothing
            raise ConfigError(f"store.folder: {store.folder} is not a folder. Name the one that holds the lake")
        return
    options = _s3(lake, store) if store.azure is None else _azure(lake, store.azure)
    words = ", ".join(f"{k} {literal(v)}" for k, v in options.items())
    try:
        lake.execute(f"CREATE SECRET lake (TYPE {'s3' if store.azure is None else 'azure'}, {words})")
    except Exception as e:  # noqa: BLE001 - whatever it is, its text holds the keys
        raise ConfigError(f"DuckDB does not take the store's settings ({type(e).__name__})") from None
    # To read small objects is mostly to wait: more threads than cores keep more requests under way.
    lake.execute(f"SET threads = {max(_THREADS, os.cpu_count() or 1)}")


def visible(lake: "duckdb.DuckDBPyConnection", root: str, topic: str) -> manifest.Visible:
    """As manifest.visible, through DuckDB: a query needs no second client of the store."""
    return manifest.look(
        topic,
        lambda: _glob(lake, root, f"{lake_folder(topic)}/date=*/*.parquet"),
        lambda: _states(lake, root, topic),
    )


def names(lake: "duckdb.DuckDBPyConnection", root: str, pattern: str) -> list[str]:
    """The names of JSON objects whose keys match, without folders and ending."""
    return [key.rpartition("/")[2].removesuffix(".json") for key in _glob(lake, root, pattern)]


def _states(lake: "duckdb.DuckDBPyConnection", root: str, topic: str) -> list[manifest.State]:
    import duckdb

    for last in (False, False, False, False, True):  # a state may be removed before it is read: there is a newer one
        keys = manifest.newest(_glob(lake, root, f"{layout.state_prefix(topic)}*/*/*.json"))
        if not keys:
            return []
        names = ", ".join(literal(f"{root}/{key}") for key in keys)
        try:
            found = lake.execute(f"SELECT content FROM read_text([{names}])").fetchall()  # noqa: S608 - quoted
            return [manifest.from_json(content) for (content,) in found]
        except (duckdb.IOException, duckdb.HTTPException):
            if last:
                raise
    raise AssertionError


def _glob(lake: "duckdb.DuckDBPyConnection", root: str, pattern: str) -> list[str]:
    found = lake.execute("SELECT file FROM glob(?)", [f"{root}/{pattern}"]).fetchall()
    return [file.removeprefix(f"{root}/") for (file,) in found]


def refused(store: "Store", text: str) -> HeadraceError:
    """The error for DuckDB's words when the lake can't be read."""
    place = where(store)
    text = text.partition("\n\nLINE ")[0]  # of our own SQL
    if any(code in text for code in _REFUSED):
        words = text.partition("\n\nAuthentication Failure")[0]
        keys = "store.access_key or store.secret_key" if store.kind == "s3" else "what store.azure gives"
        return ConfigError(f"the lake at {place} refused {keys}: {words}. Correct them")
    if any(code in text for code in _MISSING):
        remedy = "`headrace provision` creates it" if store.kind == "s3" else "create the container"
        return ConfigError(f"the lake at {place} has no bucket {store.bucket!r}: {remedy}, or correct store.bucket")
    if store.tls.enabled and ("SSL" in text or "from the peer" in text or "to the peer" in text):
        from headrace.identity import tls

        names = "store.tls", "store.endpoint"  # DuckDB says that a certificate is refused, but not why
        if why := tls.look(*tls.split(store.endpoint), store.tls, *names).refused:
            return ConfigError(f"the lake at {place}: {why}")
    return TransientError(f"the lake at {place} can't be read: {text}. Start the store, or correct `store`")


def literal(value: object) -> str:
    """A value as SQL text."""
    if isinstance(value, bool):
        return "true" if value else "false"
    return "'" + str(value).replace("'", "''") + "'"


def name(text: str) -> str:
    """The name of a table or a column as SQL text, whatever it is."""
    return '"' + text.replace('"', '""') + '"'


def _s3(lake: "duckdb.DuckDBPyConnection", store: "Store") -> dict[str, object]:
    if store.tls.cert_file is not None or not store.tls.verify_hostname:
        raise ConfigError(
            "DuckDB can't send a client certificate and always checks the host's name: with store.tls.cert_file, or "
            "with verify_hostname: false, the archive can write the lake, but no query can read it"
        )
    if store.credentials == "aws":
        from headrace.identity.aws import credentials

        given = credentials(store.timeout_seconds).retrieve()
        keys = {"KEY_ID": given.access_key, "SECRET": given.secret_key, "SESSION_TOKEN": given.session_token or ""}
    elif store.access_key is None or store.secret_key is None:
        raise ConfigError("store.access_key and store.secret_key: both are needed for kind: s3")
    else:
        keys = {"KEY_ID": store.access_key.get_secret_value(), "SECRET": store.secret_key.get_secret_value()}
    lake.load_extension(str(_extension("httpfs")))
    lake.execute(f"SET http_timeout = {max(1, int(store.timeout_seconds))}")
    lake.execute("SET enable_server_cert_verification = true")  # its second HTTP client checks nothing by default
    if store.tls.ca_file is not None:
        lake.execute(f"SET ca_cert_file = {literal(str(store.tls.ca_file))}")
    return {
        **keys,
        "ENDPOINT": store.endpoint,
        "REGION": store.region,
        "URL_STYLE": "path",
        "USE_SSL": store.tls.enabled,
    }


def _azure(lake: "duckdb.DuckDBPyConnection", azure: "Azure") -> dict[str, object]:
    lake.load_extension(str(_extension("azure")))
    lake.execute("SET azure_transport_option_type = 'curl'")  # its own client does not find a system's certificates
    if azure.account_key is None and azure.sas_token is None:
        chain: dict[str, object] = {
            "PROVIDER": "credential_chain",
            "CHAIN": "workload_identity",
            "ACCOUNT_NAME": azure.account,
        }
        return chain | ({"ENDPOINT": _endpoint(azure.account, azure.url)} if azure.url else {})
    url = azure.url or f"https://{azure.account}.blob.core.windows.net"
    parts = {"DefaultEndpointsProtocol": url.partition(":")[0], "AccountName": azure.account, "BlobEndpoint": url}
    if azure.account_key is not None:
        parts["AccountKey"] = azure.account_key.get_secret_value()
    elif azure.sas_token is not None:
        parts["SharedAccessSignature"] = azure.sas_token.get_secret_value().removeprefix("?")
    return {"CONNECTION_STRING": ";".join(f"{k}={v}" for k, v in parts.items())}


def _endpoint(account: str, url: str) -> str:
    """The host without the account: all that DuckDB accepts of a URL when it fetches a token."""
    begin = f"https://{account}."
    host = url.removeprefix(begin).rstrip("/")
    if not url.startswith(begin) or "/" in host:
        raise ConfigError(
            f"store.azure.url: with Workload Identity DuckDB reads from {begin}ENDPOINT only: the lake can be written "
            "but not queried"
        )
    return host


def _extension(name: str) -> Path:
    """The extension in the wheel duckdb-extension-<name>, for this version of DuckDB."""
    import importlib

    import duckdb

    package = importlib.import_module(f"duckdb_extension_{name}")
    folder = Path(str(package.__file__)).parent / "extensions" / f"v{duckdb.__version__}"
    path = folder / f"{name}.duckdb_extension"
    if not path.is_file():
        raise ConfigError(
            f"duckdb {duckdb.__version__} and duckdb-extension-{name} do not fit together. Install one version of both"
        )
    return path
