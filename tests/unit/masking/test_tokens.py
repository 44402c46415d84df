"""Bearer tokens and dev principals. Source: federation-and-masking section 5."""

import base64
import hmac
import json
import threading
import time
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from pydantic import SecretStr, ValidationError

from meshkit.errors import UsageError
from meshkit.masking import AuthSettings, TokenRejected, Tokens, TokensUnavailable
from meshkit.masking.jwks import fetch_jwks

ISSUER = "https://id.company.com/realms/mesh"


@cache
def key(name, bits=2048):
    return rsa.generate_private_key(public_exponent=65537, key_size=bits)


def jwk(name, *, bits=2048, **more):
    public = json.loads(jwt.algorithms.RSAAlgorithm.to_jwk(key(name, bits).public_key()))
    return {**public, "kid": name, "use": "sig", **more}


def jwks(*entries):
    return json.dumps({"keys": list(entries)}).encode()


def claims(**changes):
    base = {
        "iss": ISSUER, "aud": "meshkit", "sub": "ana", "exp": int(time.time()) + 600,
        "realm_access": {"roles": ["bi", "other"]}, "countries": ["FR", "DE"],
    }  # fmt: skip
    return {k: v for k, v in {**base, **changes}.items() if v is not ...}


def token(name="k1", *, alg="RS256", headers=None, bits=2048, **changes):
    return jwt.encode(claims(**changes), key(name, bits), algorithm=alg, headers={"kid": name, **(headers or {})})


def settings(**changes):
    issuer = {
        "issuer": ISSUER, "jwks": "https://id.company.com/certs", "audience": "meshkit", "algorithms": ["RS256"],
        "roles": "realm_access.roles", "attributes": {"countries": "countries", "level": "org.level"}, **changes,
    }  # fmt: skip
    return AuthSettings.model_validate({"issuers": [issuer]})


def part(content):
    raw = content.encode() if isinstance(content, str) else content
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


class Server:
    """A key server in memory with a clock."""

    def __init__(self, *entries):
        self.document, self.calls, self.now, self.down = jwks(*entries), 0, time.time(), False

    def fetch(self, url):
        self.calls += 1
        if self.down:
            raise OSError("down")
        return self.document

    def tokens(self, config=None):
        return Tokens(config or settings(), is_local=False, fetch=self.fetch, clock=lambda: self.now)


@pytest.fixture
def server():
    return Server(jwk("k1"))


def rejected(tokens, text):
    with pytest.raises(TokenRejected) as error:
        tokens.verify(text)
    assert text not in str(error.value)
    return error.value.reason


def test_a_good_token_proves_subject_roles_and_attributes(server):
    """Dotted claims, lists, the issuer as witness."""
    principal = server.tokens().verify(SecretStr(token(org={"level": 3})))
    assert (principal.subject, principal.roles, principal.issuer) == ("ana", ("bi", "other"), ISSUER)
    assert principal.attributes == {"countries": ("FR", "DE"), "level": 3}


def test_mapped_roles_replace_and_unmapped_ones_drop(server):
    """Exactly: no trim, no case folding."""
    config = settings(map_roles={"bi": "analyst", "mesh-admins": "admin"})
    assert server.tokens(config).verify(token()).roles == ("analyst",)
    assert server.tokens(config).verify(token(realm_access={"roles": ["BI", " bi"]})).roles == ()


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"exp": 1}, "expired"), ({"exp": ...}, "claims"), ({"sub": ...}, "claims"), ({"aud": ...}, "claims"), ({"aud": "other"}, "audience"),
        ({"iss": ISSUER + "/"}, "issuer"), ({"iss": ...}, "issuer"), ({"nbf": int(time.time()) + 900}, "claims"),
        ({"realm_access": {"roles": "admin"}}, "roles"), ({"realm_access": {"roles": ["a", 1]}}, "roles"), ({"realm_access": {"roles": None}}, "roles"),
        ({"realm_access": {"roles": {"admin": True}}}, "roles"), ({"sub": "product:shop.prices"}, "subject"), ({"sub": ""}, "subject"), ({"sub": "a\nb"}, "subject"),
    ],
)  # fmt: skip
def test_wrong_claims_are_rejected(server, changes, reason):
    """Each with its reason."""
    assert rejected(server.tokens(), token(**changes)) == reason


def test_a_token_may_be_late_by_the_leeway_only(server):
    """10 seconds."""
    assert server.tokens().verify(token(exp=int(time.time()) - 5)).subject == "ana"
    assert rejected(server.tokens(), token(exp=int(time.time()) - 15)) == "expired"


@pytest.mark.parametrize("name", ["jku", "x5u", "jwk", "x5c", "crit"])
def test_headers_that_choose_the_key_are_rejected(server, name):
    """Keys come from the configuration."""
    assert rejected(server.tokens(), token(headers={name: {"kty": "RSA"} if name == "jwk" else ["x"]})) == "header"


def test_algorithms_come_from_the_configuration(server):
    """Not from the token: none, HMAC with the public key, another of the family."""
    public = key("k1").public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    signed = f"{part(json.dumps({'alg': 'HS256', 'kid': 'k1'}))}.{part(json.dumps(claims()))}"
    forged = f"{signed}.{part(hmac.digest(public, signed.encode(), 'sha256'))}"
    assert rejected(server.tokens(), forged) == "algorithm"
    unsigned = jwt.encode(claims(), None, algorithm="none")
    assert rejected(server.tokens(), unsigned) in {"algorithm", "malformed"}
    assert rejected(server.tokens(), token(alg="RS512")) == "algorithm"
    assert server.tokens(settings(algorithms=["RS256", "RS512"])).verify(token(alg="RS512")).subject == "ana"


def test_a_forged_signature_is_rejected(server):
    """Another key under the same name; changed claims."""
    head, _, signature = token().split(".")
    other = jwt.encode(claims(), key("evil"), algorithm="RS256", headers={"kid": "k1"})
    assert rejected(server.tokens(), other) == "signature"
    changed = base64.urlsafe_b64encode(json.dumps(claims(sub="bob")).encode()).rstrip(b"=").decode()
    assert rejected(server.tokens(), f"{head}.{changed}.{signature}") == "signature"


def test_duplicate_keys_and_garbage_are_malformed(server):
    """Two readers must not see two values."""
    head, body, signature = token().split(".")
    claims_twice = part('{"iss":"' + ISSUER + '","iss":"x"}')
    header_twice = part('{"alg":"RS256","alg":"none"}')
    texts = [
        f"{head}.{claims_twice}.{signature}",
        f"{header_twice}.{body}.{signature}",
        f"{head}.{part('[1]')}.{signature}",
    ]
    not_a_number = part('{"exp":NaN}')
    texts += [
        f"{head}.{not_a_number}.{signature}",
        "a.b",
        "a.b.c",
        "\u00e9.\u00e9.\u00e9",
        f"{token()}\n",
        "x" * 20_000,
    ]
    for text in texts:
        assert rejected(server.tokens(), text) == "malformed"


def test_roles_of_products_are_not_for_tokens(server):
    """A policy may grant `product:shop.prices`; no issuer gives it."""
    assert server.tokens().verify(token(realm_access={"roles": ["product", "product:shop.prices", "bi"]})).roles == (
        "bi",
    )


def test_an_unknown_key_is_fetched_once_per_30_seconds(server):
    """Rotation works; a flood of unknown key ids does not reach the issuer."""
    tokens = server.tokens()
    assert rejected(tokens, token("k2")) == "unknown_key"
    server.document = jwks(jwk("k1"), jwk("k2"))
    calls = server.calls
    for _ in range(5):
        assert rejected(tokens, token("k2")) == "unknown_key"
    assert server.calls == calls
    server.now += 31
    assert tokens.verify(token("k2")).subject == "ana"
    assert server.calls == calls + 1


def test_old_keys_serve_a_day_when_the_issuer_is_down(server):
    """Then nothing of it is verified."""
    tokens = server.tokens()
    later = int(time.time()) + 200_000
    tokens.verify(token(exp=later))
    server.down = True
    server.now += 86_000
    assert tokens.verify(token(exp=later, sub="bob")).subject == "bob"
    server.now += 500
    with pytest.raises(TokensUnavailable):
        tokens.verify(token(exp=later, sub="eve"))
    with pytest.raises(TokensUnavailable):
        _down().verify(token())


def _down():
    server = Server()
    server.down = True
    return server.tokens()


def test_verified_tokens_are_remembered_five_minutes_at_most(server):
    """And never past their end."""
    tokens = server.tokens()
    good, short = token(), token(exp=int(time.time()) + 60)
    first = tokens.verify(good)
    assert tokens.verify(good) is first
    tokens.verify(short)
    ends = sorted(end - server.now for _, end in tokens._verified.values())
    assert 50 <= ends[0] <= 60
    assert ends[1] == 300
    server.now += 301
    assert tokens.verify(good) is not first


def test_keys_for_encryption_other_families_and_short_ones_do_not_verify():
    """A key set may hold anything."""
    curve = ec.generate_private_key(ec.SECP256R1())
    foreign = json.loads(jwt.algorithms.ECAlgorithm.to_jwk(curve.public_key())) | {"kid": "ec"}
    server = Server(jwk("k1", use="enc"), foreign, jwk("short", bits=1024), {"kty": "RSA", "kid": "bad"}, "x")
    assert rejected(server.tokens(), token("k1")) == "unknown_key"
    with pytest.warns(jwt.InsecureKeyLengthWarning):
        weak = token("short", bits=1024)
    assert rejected(server.tokens(), weak) == "unknown_key"
    signed = jwt.encode(claims(), curve, algorithm="ES256", headers={"kid": "ec"})
    assert rejected(server.tokens(), signed) == "algorithm"
    assert server.tokens(settings(algorithms=["ES256"])).verify(signed).subject == "ana"


@pytest.mark.parametrize(
    "changes",
    [
        {"algorithms": ["HS256"]},
        {"algorithms": ["none"]},
        {"algorithms": []},
        {"algorithms": ["RS256", "ES256"]},
        {"jwks": "http://id.company.com/certs"},
        {"jwks": "file:///etc/x"},
    ],
)
def test_unsafe_issuers_are_refused_at_load(changes):
    """One asymmetric family, https or loopback."""
    with pytest.raises(ValidationError):
        settings(**changes)


def test_dev_principals_are_local_only():
    """Refused elsewhere; unknown names have a hint."""
    config = AuthSettings.model_validate(
        {"dev_principals": {"analyst": {"roles": ["analyst"], "attributes": {"countries": ["FR"]}}}}
    )
    principal = Tokens(config, is_local=True).dev("analyst")
    assert (principal.subject, principal.roles, principal.attributes, principal.issuer) == (
        "analyst",
        ("analyst",),
        {"countries": ["FR"]},
        "dev",
    )
    with pytest.raises(UsageError, match="Did you mean 'analyst'"):
        Tokens(config, is_local=True).dev("analist")
    with pytest.raises(UsageError, match="local"):
        Tokens(config, is_local=False)


def test_key_sets_are_fetched_without_redirects_and_within_64_kb():
    """A real HTTP server."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            if self.path == "/moved":
                self.send_response(302)
                self.send_header("Location", "/good")
                self.end_headers()
                return
            body = jwks(jwk("k1")) if self.path == "/good" else b" " * (70 << 10)
            self.send_response(200)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *args):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    url = f"http://127.0.0.1:{server.server_port}"
    try:
        tokens = Tokens(settings(jwks=f"{url}/good"), is_local=False)
        assert tokens.verify(token()).subject == "ana"
        with pytest.raises(OSError):
            fetch_jwks(f"{url}/moved")
        with pytest.raises(ValueError, match="64 kB"):
            fetch_jwks(f"{url}/large")
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
