"""A double of the rules that X keeps for a project: it checks who asks and how, and answers with X's own errors.

Source: X API v2, "Filtered stream" and its OpenAPI description (docs.x.com).
"""

from __future__ import annotations

import json
import threading
import time
from typing import Any
from urllib.parse import parse_qs, urlsplit

from tests.feeds.webserver import Talk

PATH = "/2/tweets/search/stream/rules"
TOKEN = "AAAAbearer%3D"
_PROBLEMS = "https://api.twitter.com/2/problems"
_PAGE = 3
"""Fewer than X has, so that every list has pages."""


class Project:
    """The project and its rules, by X's ids."""

    def __init__(self) -> None:
        self.rules: dict[str, dict[str, str]] = {}
        self.most = 1000
        self.longest = 1024
        self.posts: list[dict[str, Any]] = []
        """What was asked for by POST and not refused as a whole, in order; a dry run has `dry_run`."""
        self.lists = self.asked = 0
        self.faults: list[str] = []
        """What was wrong with a request."""
        self.most_at_once = 0
        """How many requests were answered at one time, at most."""
        self.refuses: str = ""
        """A status with which everything is refused; empty = nothing is."""
        self.headers: dict[str, str] = {}
        """What is told with each answer."""
        self.fewest = 0
        """The fewest rules there have been since `watch`."""
        self.hangs = threading.Event()
        """Cleared: nothing is answered until it is set."""
        self.hangs.set()
        self._at_once = 0
        self._next = 1_234_567_890_123_456_789
        self._lock = threading.Lock()

    def put(self, value: str, tag: str = "") -> str:
        """Give the project a rule, as somebody else does; return its id."""
        self._next += 1
        self.rules[str(self._next)] = {"value": value, **({"tag": tag} if tag else {})}
        return str(self._next)

    def values(self, mark: str = "") -> set[str]:
        """Return the values of the rules whose tag begins with a text."""
        return {rule["value"] for rule in self.rules.values() if rule.get("tag", "").startswith(mark)}

    def watch(self) -> None:
        """Begin to count the fewest rules."""
        self.fewest = len(self.rules)

    def answer(self, talk: Talk) -> None:
        """Answer one request."""
        with self._lock:
            self.asked += 1
            self._at_once += 1
            self.most_at_once = max(self.most_at_once, self._at_once)
        time.sleep(0.01)  # so that two that ask at one time are seen
        self.hangs.wait()
        with self._lock:
            status, document = self._judge(talk)
            self._at_once -= 1
            self.fewest = min(self.fewest, len(self.rules))
        talk.answer(json.dumps(document).encode(), status, content_type="application/json", **self.headers)

    def _judge(self, talk: Talk) -> tuple[str, dict[str, Any]]:
        asked = talk.asked
        if asked.headers.get("authorization") != f"Bearer {TOKEN}" or self.refuses.startswith("401"):
            return "401 Unauthorized", _problem("Unauthorized", "about:blank", "Unauthorized", 401)
        if self.refuses:
            return self.refuses, _problem(self.refuses[4:], "about:blank", self.refuses[4:], int(self.refuses[:3]))
        query = {name: texts[0] for name, texts in parse_qs(urlsplit(asked.path).query).items()}
        if asked.method == "GET":
            return self._list(query)
        if asked.method != "POST" or asked.headers.get("content-type") != "application/json":
            return self._fault(f"{asked.method} of {asked.headers.get('content-type')}")
        body = json.loads(asked.body)
        if list(body) not in (["add"], ["delete"]) or query.keys() - {"dry_run"}:
            return self._fault(f"POST {query} {body}")
        self.posts.append({**body, **query})
        is_dry = query.get("dry_run") == "true"
        return self._add(body["add"], is_dry) if "add" in body else self._delete(body["delete"]["ids"], is_dry)

    def _fault(self, words: str) -> tuple[str, dict[str, Any]]:
        self.faults.append(words)
        return "400 Bad Request", {
            **_problem("Invalid Request", f"{_PROBLEMS}/invalid-request", "One or more parameters was invalid."),
            "errors": [{"parameters": {}, "message": words}],
        }

    def _list(self, query: dict[str, str]) -> tuple[str, dict[str, Any]]:
        if query.keys() - {"max_results", "pagination_token"} or not 1 <= int(query.get("max_results", 1)) <= 1000:
            return self._fault(f"GET {query}")
        self.lists += 1
        begin = int(query.get("pagination_token", "0"))
        page = list(self.rules.items())[begin : begin + _PAGE]
        meta: dict[str, Any] = {"sent": "2026-11-28T12:00:00.000Z", "result_count": len(page)}
        if begin + _PAGE < len(self.rules):
            meta["next_token"] = str(begin + _PAGE)
        data = {"data": [{"id": id_, **rule} for id_, rule in page]} if page else {}
        return "200 OK", {**data, "meta": meta}

    def _add(self, wanted: list[dict[str, str]], is_dry: bool) -> tuple[str, dict[str, Any]]:
        if not 1 <= len(wanted) <= 100:
            return self._fault(f"{len(wanted)} rules at once")
        errors: list[dict[str, Any]] = []
        created: dict[str, dict[str, str]] = {}
        for rule in wanted:
            same = [id_ for id_, each in {**self.rules, **created}.items() if each["value"] == rule["value"]]
            if same:
                title = ("DuplicateRule", f"{_PROBLEMS}/duplicate-rules")
                errors.append({"value": rule["value"], "id": same[0], "title": title[0], "type": title[1]})
            elif words := self._fault_of(rule):
                title = ("UnprocessableEntity", f"{_PROBLEMS}/invalid-rules")
                errors.append({"value": rule["value"], "details": [words], "title": title[0], "type": title[1]})
            else:
                self._next += 1
                created[str(self._next)] = rule
        if len(self.rules) + len(created) > self.most:
            detail = "Your request would exceed the number of rules that your project may have."
            return "422 Unprocessable Entity", _problem("RulesCapExceeded", f"{_PROBLEMS}/rule-cap", detail)
        if not is_dry:
            self.rules |= created
        summary = {"created": len(created), "not_created": len(errors), "valid": len(created), "invalid": len(errors)}
        return "201 Created", {
            **({"data": [{"id": id_, **rule} for id_, rule in created.items()]} if created and not is_dry else {}),
            "meta": {"sent": "2026-11-28T12:00:00.000Z", "summary": summary},
            **({"errors": errors} if errors else {}),
        }

    def _fault_of(self, rule: dict[str, str]) -> str:
        if len(rule["value"]) > self.longest:
            return f"Rule '{rule['value']}' exceeds the length of {self.longest}"
        if rule["value"].count('"') % 2:
            return "missing closing quote (at position 1)"
        return ""

    def _delete(self, ids: list[str], is_dry: bool) -> tuple[str, dict[str, Any]]:
        if is_dry or not 1 <= len(ids) <= 100:
            return self._fault(f"delete {len(ids)}")
        gone = [id_ for id_ in ids if self.rules.pop(id_, None)]
        summary = {"deleted": len(gone), "not_deleted": len(ids) - len(gone)}
        return "200 OK", {"meta": {"sent": "2026-11-28T12:00:00.000Z", "summary": summary}}


def _problem(title: str, type_: str, detail: str, status: int | None = None) -> dict[str, Any]:
    return {"title": title, "type": type_, "detail": detail, **({"status": status} if status else {})}
