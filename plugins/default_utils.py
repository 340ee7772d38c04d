"""Send fixed demonstration values for every message: the default plugin of PIRUS2, kept so that its configuration runs.

Every ping carries the same invented client and article. Use it to see a pipeline move, never with a real tracker;
copy `plugins/accesslog.py` for a repository of your own.
"""

from configparser import RawConfigParser

OPTIONS = {
    "url_ver": "version of the OpenURL standard; default Z39.88-2004",
    "svc_dat": "version of the article that was downloaded; default Accepted version",
    "rfr_id": "identifier of the repository; default empty",
}

_DEFAULTS = {"url_ver": "Z39.88-2004", "svc_dat": "Accepted version", "rfr_id": ""}


def parseline(jmsg: str) -> dict[str, str]:
    """Return the demonstration terms, whatever the message holds."""
    return {
        "id": "test_id:4",
        "ip": "163.1.127.176",
        "useragent": (
            "Mozilla/4.0 (compatible; MSIE 7.0; Windows NT 5.1; .NET CLR 1.1.4322; InfoPath.2; Badongo 2.0.0)"
        ),
        "referer": "http://google.com",
    }


def get_openurl_params(c: RawConfigParser, worker_section: str, pl: dict[str, str]) -> dict[str, str]:
    """Return the OpenURL parameters of one message; options of the worker section win over the defaults."""
    overridable = {
        name: c.get(worker_section, name) if c.has_option(worker_section, name) else default
        for name, default in _DEFAULTS.items()
    }
    return overridable | {
        "rft_id": "info:doi:http://dx.doi.org/10.1016/S0022-460X(03)00773-9",
        "svc_format": "application/pdf",
        "req_id": f"urn:ip:{pl['ip']}",
        "req_dat": pl["useragent"],
    }
