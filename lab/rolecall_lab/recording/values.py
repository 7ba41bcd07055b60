"""The redaction of single values: texts, URLs, parameters, and JSON."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from rolecall.checks import Secret
from rolecall_lab.recording import parts
from rolecall_lab.recording.findings import HIDDEN, Findings
from rolecall_lab.recording.marks import shorten, unverified_jwt
from rolecall_lab.recording.rules import (
    HASH_CLAIMS,
    IDENTITIES,
    MAX_BODY,
    MAX_DEPTH,
    MAX_ITEMS,
    MAX_TEXT,
    MAX_VALUE,
    MIN_RANDOM,
    PARAMETER_NAME,
    PLAIN_PARAMETERS,
    PRIVATE_KEY_MEMBERS,
    RANDOM,
    URL,
    URL_PARAMETERS,
    rule_for,
)


class ValueRedaction(Findings):
    """The redaction of the values of one exchange; see `Findings` for its arguments."""

    def mark(self, text: str, *, keep_value: bool = False) -> dict[str, Any]:
        """Return the mark of a secret, with its value if `keep_value` is set and the value is short enough."""
        self._secrets.add(text)
        mark: dict[str, Any] = {"shown": shorten(text), "hash": self.hash(text)}
        keep_value = keep_value and self.keeps_tokens
        if keep_value and len(text) <= MAX_VALUE:
            mark["value"] = self._secrets.placeholder(text)
        elif keep_value:
            self.cut = True
        if text.count(".") == 2 and len(text) <= MAX_BODY:
            # no one types a secret into the wrong field of a JWT, so its client IDs may be recorded
            jwt = self.part(text.encode(errors="surrogatepass"), lambda part: part._jwt_parts(text))
            if jwt:
                self._secrets.add(text.rpartition(".")[2])
                mark |= jwt
        return mark

    def parameters(self, pairs: Sequence[tuple[str, str]], *, joins: bool = True) -> dict[str, Any]:
        """Redact the parameters of a query or form; the values of a repeated parameter become a list."""
        result: dict[str, Any] = {}
        self.cut |= len(pairs) > MAX_ITEMS
        for name, text in pairs[:MAX_ITEMS]:
            value = self._parameter(name, text, joins)
            shown = name if PARAMETER_NAME.fullmatch(name) else "?"
            if shown not in result:
                result[shown] = value
            elif isinstance(result[shown], list):
                result[shown].append(value)
            else:
                result[shown] = [result[shown], value]
        return result

    def query(self, text: str) -> dict[str, Any]:
        """Redact parameters in the format `application/x-www-form-urlencoded`."""
        return self.parameters(parse_qsl(text, keep_blank_values=True)) if text else {}

    def url(self, text: str, *, joins: bool = False) -> Any:
        """Redact a URL: return a string, or `url` and `parameters` if it has parameters in its query or fragment."""
        try:
            split = urlsplit(text)
        except ValueError:
            return HIDDEN
        base = f"{split.scheme}:" if split.scheme else ""
        base += f"//{split.netloc.rpartition('@')[2]}" if split.netloc else ""
        base = self._text(base + self.path(split.path))
        # a fragment without `=` only refers to a position in a page
        fragment = split.fragment if "=" in split.fragment else ""
        pairs = [pair for part in (split.query, fragment) if part for pair in parse_qsl(part, keep_blank_values=True)]
        return {"url": base, "parameters": self.parameters(pairs, joins=joins)} if pairs else base

    def path(self, text: str) -> str:
        """Redact a path: shorten the parts that look like secrets."""
        return self._text(RANDOM.sub(lambda match: shorten(match[0]), text))

    def json(self, value: Any, name: str = "", depth: int = 0, *, joins: bool = False) -> Any:
        """Redact a JSON value according to the name of its member."""
        kind = type(value)
        if kind is dict or kind is list:
            if depth == MAX_DEPTH or rule_for(name).hidden:
                self.cut |= depth == MAX_DEPTH
                return self._hidden_json(value)
            self.cut |= len(value) > MAX_ITEMS
            if kind is list:
                return [self.json(each, name, depth + 1) for each in value[:MAX_ITEMS]]
            return self._members(value, depth, joins=joins and depth == 0)
        if value is None:
            return None
        if rule_for(name).is_needed:
            redacted = self._by_name(name, value if kind is str else str(value), joins)
            if redacted is not None:
                return redacted
        if kind is str:
            return self.url(value) if URL.match(value) else self._text(value)
        return value if kind is not float or math.isfinite(value) else "…"

    def _members(self, value: dict[str, Any], depth: int, *, joins: bool) -> dict[str, Any]:
        """Redact the members of a JSON object at `depth`."""
        private = PRIVATE_KEY_MEMBERS if "kty" in value else ()
        result = {}
        for key, each in value.items() if len(value) <= MAX_ITEMS else [*value.items()][:MAX_ITEMS]:
            kind = type(each)
            is_plain = kind is int or kind is bool or (kind is str and len(each) <= MAX_TEXT and not URL.match(each))
            if key in private:
                redacted = self._hidden_json(each)
            elif is_plain and not rule_for(key).is_needed:  # most members, without further calls
                redacted = each
            else:
                redacted = self.json(each, key, depth + 1, joins=joins)
            result[key if len(key) <= MAX_TEXT else self._text(key)] = redacted
        return result

    def part(self, text: bytes, redact: Callable[[ValueRedaction], Any]) -> Any:
        """Redact a part of a message that other exchanges are likely to repeat, such as the claims of a token.

        Args:
            redact: redacts the part with the redaction that it is called with, which has not seen anything else.
        """
        if (known := parts.known(name := parts.name_of(text))) is not None:
            self._client_ids |= known.client_ids
            return known.redacted
        part = ValueRedaction(self._key)
        part.keeps_tokens = self.keeps_tokens
        value = redact(part)
        if not (part.handles or part.cut or part._hashes or part._tokens or part._secrets.found):
            parts.keep(name, parts.Part(value, frozenset(part._client_ids)))
        self._add(part)
        return value

    def fact(self, value: Any) -> Any:
        """Redact a value that was reported by a check or a state change: mark secrets and random texts."""
        if isinstance(value, Secret):
            return self.mark(str(value))
        if isinstance(value, str):
            if len(value) < MIN_RANDOM or value in self._client_ids:
                return value
            return self.mark(value) if RANDOM.fullmatch(value) else self.path(value)
        if value is None or isinstance(value, bool | int) or (isinstance(value, float) and math.isfinite(value)):
            return value
        if isinstance(value, list | tuple | set | frozenset):
            return [self.fact(each) for each in [*value][:MAX_ITEMS]]
        return self.path(str(value))

    def _jwt_parts(self, text: str) -> dict[str, Any]:
        header, claims = unverified_jwt(text)
        if claims is None:
            return {}
        return {"unverified_header": self.json(header), "unverified_claims": self.json(claims)}

    def _parameter(self, name: str, text: str, joins: bool) -> Any:
        if not text:
            return ""
        if rule_for(name).is_needed:
            redacted = self._by_name(name, text, joins)
            if redacted is not None:
                return redacted
        if name in URL_PARAMETERS:
            return self.url(text)
        return self._text(text) if name in PLAIN_PARAMETERS else HIDDEN

    def _by_name(self, name: str, text: str, joins: bool) -> Any:
        """Redact the value if there is a rule for its name; return None otherwise."""
        if name in IDENTITIES and self._is_hidden_identity(text):
            return HIDDEN
        if name == "client_id":
            self._client_ids.add(text)
        rule = rule_for(name)
        if rule.hidden:
            self._secrets.hide(text)
            return HIDDEN
        if rule.joins and joins:
            self._join(name, text)
        if rule.followed:
            followed = {"value": self._text(text), "hash": self.hash(text)}
            if name in HASH_CLAIMS:
                self._hash_claims.append(followed)
            return followed
        if name in {"code", "access_token"}:
            self._tokens.append(text)
        return self.mark(text, keep_value=rule.value_kept) if rule.marked else None
