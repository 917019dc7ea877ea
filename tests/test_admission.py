"""Who is let in; what comes over HTTP is in test_receiver.py."""

from dataclasses import replace
from pathlib import Path

import pytest
from running_service import KEY, OTHER_KEY, make_body, make_site, signed

from spooler import admission
from spooler.errors import CertificateRefusedError, SignatureRefusedError
from spooler.keys import load_key
from spooler.signature import HEADER


def test_the_certificate_is_looked_at_first_and_then_the_signature(tmp_path: Path) -> None:
    site = make_site(tmp_path / "site")
    webhook, key, body = site.configuration().webhooks["crm"], load_key(site.key_file), make_body()
    good = {admission.SIGNATURE_HEADER: signed(body, KEY)[HEADER], "REMOTE_ADDR": "127.0.0.1"}
    forged = {**good, admission.SIGNATURE_HEADER: signed(body, OTHER_KEY)[HEADER]}
    assert admission.check(webhook, [key], good, body, "127.0.0.1") == key.fingerprint
    for environ in (forged, {"REMOTE_ADDR": "127.0.0.1"}):
        with pytest.raises(SignatureRefusedError):
            admission.check(webhook, [key], environ, body, "127.0.0.1")
    certified = replace(webhook, client_certificates=frozenset({"0" * 64}))
    with pytest.raises(CertificateRefusedError, match="no client certificate was presented"):
        admission.check(certified, [key], forged, body, "127.0.0.1")
    assert admission.check(replace(webhook, signed=False), [key], forged, body, "127.0.0.1") == ""
