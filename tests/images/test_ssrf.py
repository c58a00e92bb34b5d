"""URLs that lead into the house: refused, all alike, and no connection is begun for any of them."""

from __future__ import annotations

import time
from ipaddress import ip_network
from typing import Any

import pytest

from tasks.images.fetch import NOT_THERE, Fetcher, NotFetched
from tests.images.pictures import plain
from tests.images.servers import NameServer, WebServer, page, redirect

LOOPBACK = [ip_network("127.0.0.0/8")]
ONE, TWO = ip_network("127.0.0.1/32"), ip_network("127.0.0.2/32")

LITERALS = [
    # IPv4 of the house, plainly
    "http://127.0.0.1/", "http://127.0.0.1:80/", "http://127.1.2.3/", "http://0.0.0.0/", "http://10.0.0.1/",
    "http://10.255.255.255/", "http://172.16.0.1/", "http://172.31.255.1/", "http://192.168.1.1/",
    "http://100.64.0.1/", "http://198.18.0.1/", "http://192.0.2.1/", "http://255.255.255.255/", "http://224.0.0.1/",
    "http://240.0.0.1/", "http://192.88.99.1/",
    # in forms that inet_aton and browsers take
    "http://2130706433/", "http://017700000001/", "http://0x7f000001/", "http://0177.0.0.1/", "http://0x7f.0.0.1/",
    "http://127.1/", "http://127.0.1/", "http://0/", "http://127.0.0.01/", "http://0x7f.1/", "http://127.0.0.1./",
    "http://256.256.256.256/", "http://\uff11\uff12\uff17.0.0.1/",
    "http://127\u30020\u30020\u30021/", "http://\u2460\u2461\u2466.0.0.1/",
    # IPv6
    "http://[::1]/", "http://[::]/", "http://[::ffff:127.0.0.1]/", "http://[::ffff:7f00:1]/", "http://[::127.0.0.1]/",
    "http://[0:0:0:0:0:ffff:169.254.169.254]/", "http://[fe80::1]/", "http://[fe80::1%25lo]/", "http://[fc00::1]/",
    "http://[fd00:ec2::254]/", "http://[fec0::1]/", "http://[ff02::1]/", "http://[2001:db8::1]/",
    "http://[64:ff9b::7f00:1]/", "http://[64:ff9b::a9fe:a9fe]/", "http://[64:ff9b:1::1]/", "http://[2002:7f00:1::]/",
    "http://[2001:0:7f00:1::]/", "http://[100::1]/", "http://[::ffff:0:127.0.0.1]/", "http://[5f00::1]/",
    # metadata of clouds
    "http://169.254.169.254/latest/meta-data/", "http://169.254.170.2/v2/credentials", "http://100.100.100.200/",
    "http://192.0.0.192/", "http://168.63.129.16/", "http://2852039166/", "http://0xa9fea9fe/",
    # credentials, ports, schemes, and what readers of URLs disagree about
    "http://user:pass@93.184.216.34/", "http://93.184.216.34@127.0.0.1/", "http://@127.0.0.1/",
    "http://127.0.0.1:6379/", "http://93.184.216.34:22/", "http://93.184.216.34:99999/", "http://93.184.216.34:x/",
    "http://93.184.216.34\\@127.0.0.1/", "http://127.0.0.1\t/",
    "http://127.0.0.1 .example/", "http://127.0.0.1%2f.example/", "http://127.0.0.1\r\nHost: x/", "http:127.0.0.1",
    "http:///127.0.0.1/", "http://", "http://[/", "http://[::1/", "http://a..b/", "http://-a.test/",
    "http://" + "a." * 200 + "test/", "https://127.0.0.1/", "ftp://127.0.0.1/", "file:///etc/passwd",
    "gopher://127.0.0.1:6379/_INFO", "data:image/png;base64,AAAA", "//127.0.0.1/", "http://x/" + "a" * 9000,
]  # fmt: skip

NAMES: dict[str, list[str]] = {
    "localhost": ["127.0.0.1"],
    "inside.test": ["127.0.0.1"],
    "ten.test": ["10.0.0.5"],
    "zero.test": ["0.0.0.0"],
    "metadata.google.internal": ["169.254.169.254"],
    "meta.test": ["169.254.169.254"],
    "azure.test": ["168.63.129.16"],
    "carrier.test": ["100.64.0.1"],
    "six.test": ["::1"],
    "mapped.test": ["::ffff:7f00:1"],
    "local.test": ["fe80::1"],
    "unique.test": ["fd00::1"],
    "nat.test": ["64:ff9b::7f00:1"],
    "sixtofour.test": ["2002:7f00:1::"],
    "both.test": ["93.184.216.34", "127.0.0.1"],
    "families.test": ["93.184.216.34", "::1"],
    "alias.test": ["=inside.test."],
    "127.0.0.1.nip.test": ["127.0.0.1"],
    "nothing.test": [],
}


@pytest.fixture
def fetcher(web: WebServer, names: NameServer) -> Fetcher:
    """With what an operator has by default, except for the name server; and something to be had at every path."""
    for name, addresses in NAMES.items():
        names.tell(name, addresses)
    web.pages["/"] = page(plain())
    return Fetcher(most_bytes=1_000_000, nameserver=names.address, ports=(80, 443, web.port))


def refusal(fetcher: Fetcher, url: str) -> str:
    with pytest.raises(NotFetched) as refused:
        fetcher.fetch(url, ends_at=time.monotonic() + 5)
    return str(refused.value)


@pytest.mark.parametrize("url", LITERALS)
def test_an_address_of_the_house_is_not_connected_to(fetcher: Fetcher, connections: list[Any], url: str) -> None:
    sentence = refusal(fetcher, url)
    assert connections == []
    assert len(sentence) < 100
    assert not any(part in sentence for part in ("127", "169.254", "10.0", "pass", "6379"))


@pytest.mark.parametrize("name", NAMES)
def test_a_name_of_the_house_is_not_connected_to(
    fetcher: Fetcher, web: WebServer, connections: list[Any], name: str
) -> None:
    for spelt in (name, name.upper(), f"{name}."):
        assert refusal(fetcher, f"http://{spelt}:{web.port}/") == NOT_THERE
    assert connections == []
    assert web.seen == []


def test_a_refused_address_sounds_like_one_that_does_not_answer(web: WebServer) -> None:
    """Whoever could tell them apart could map the inside."""
    with WebServer().running() as gone:
        pass
    reaching = Fetcher(most_bytes=1000, networks=LOOPBACK, ports=(gone.port,))
    refusing = Fetcher(most_bytes=1000, ports=(web.port,))
    said = {refusal(reaching, f"http://127.0.0.1:{gone.port}/"), refusal(refusing, f"http://127.0.0.1:{web.port}/")}
    assert said == {NOT_THERE}


@pytest.mark.parametrize(
    "location",
    ["http://169.254.169.254/latest/meta-data/", "http://10.0.0.1/", "//10.0.0.1/", "http://[::1]/", "file:///etc/passwd",
     "http://2130706433/", "http://inside.test/", "http://a:b@127.0.0.1/", "http://127.0.0.1:22/", "",
     "data:image/png;base64,AAAA", "http://127.0.0.1\\@x/", "gopher://127.0.0.1/"],
)  # fmt: skip
def test_a_redirect_is_checked_like_the_first_url(
    web: WebServer, names: NameServer, connections: list[Any], location: str
) -> None:
    names.tell("inside.test", ["10.9.9.9"])
    web.pages["/go"] = redirect(location)
    fetcher = Fetcher(most_bytes=1000, networks=[ONE], ports=(80, web.port), nameserver=names.address)
    refusal(fetcher, f"http://127.0.0.1:{web.port}/go")
    assert [address[1] for address in connections] == [web.port]


# ---- DNS rebinding: the answer changes between the look and the use --------------------------


def test_the_connection_is_made_to_the_address_that_was_checked(names: NameServer) -> None:
    """The name's first answer may be fetched from, the second is what it is all about."""
    with WebServer("127.0.0.2").running() as allowed, WebServer("127.0.0.1", allowed.port).running() as secret:
        allowed.pages["/"], secret.pages["/"] = page(b"harmless"), page(b"secret")
        names.tell("rebind.test", ["127.0.0.2"], ["127.0.0.1"])
        fetcher = Fetcher(most_bytes=1000, networks=[TWO], ports=(allowed.port,), nameserver=names.address)
        url = f"http://rebind.test:{allowed.port}/"
        assert fetcher.fetch(url, ends_at=time.monotonic() + 5) == b"harmless"
        assert names.names.asked["rebind.test"] == 1
        assert refusal(fetcher, url) == NOT_THERE
        assert (len(allowed.seen), len(secret.seen)) == (1, 0)


def test_a_redirect_to_the_same_name_is_looked_up_and_checked_again(names: NameServer) -> None:
    with WebServer("127.0.0.2").running() as allowed, WebServer("127.0.0.1", allowed.port).running() as secret:
        allowed.pages["/"], secret.pages["/"] = redirect("/secret"), page(b"secret")
        names.tell("rebind.test", ["127.0.0.2"], ["127.0.0.1"])
        fetcher = Fetcher(most_bytes=1000, networks=[TWO], ports=(allowed.port,), nameserver=names.address)
        assert refusal(fetcher, f"http://rebind.test:{allowed.port}/") == NOT_THERE
        assert (len(allowed.seen), len(secret.seen)) == (1, 0)


def test_one_bad_address_among_good_ones_spoils_the_name(names: NameServer) -> None:
    with WebServer("127.0.0.2").running() as allowed:
        allowed.pages["/"] = page(b"harmless")
        names.tell("mixed.test", ["127.0.0.2", "127.0.0.1"])
        fetcher = Fetcher(most_bytes=1000, networks=[TWO], ports=(allowed.port,), nameserver=names.address)
        assert refusal(fetcher, f"http://mixed.test:{allowed.port}/") == NOT_THERE
        assert allowed.seen == []
