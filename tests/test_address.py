"""Where to listen, as it is written."""

import pytest

from spooler.address import Address


@pytest.mark.parametrize(
    ("text", "unix_path", "host", "port"),
    [
        ("127.0.0.1:8080", "", "127.0.0.1", 8080),
        ("[::1]:65535", "", "::1", 65535),
        ("[0:0:0:0:0:0:0:1]:1", "", "::1", 1),
        ("localhost:0", "", "localhost", 0),
        ("unix:/run/spooler/receiver.sock", "/run/spooler/receiver.sock", "", 0),
    ],
)
def test_every_form_is_understood(text: str, unix_path: str, host: str, port: int) -> None:
    address = Address.parse(text)
    assert (address.unix_path, address.host, address.port) == (unix_path, host, port)
    assert str(Address.parse(str(address))) == str(address)


@pytest.mark.parametrize(
    "text",
    ["", "8080", ":8080", "127.0.0.1", "::1:8080", "127.0.0.1:65536", "a b:1", "unix:", "h:1x", 8080, None],
)
def test_anything_else_is_refused_with_an_example(text: object) -> None:
    with pytest.raises(ValueError, match=r'is no address; write for example "127\.0\.0\.1:8080"'):
        Address.parse(text)
