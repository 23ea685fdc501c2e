import base64
import string
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from config.keys import Secret
from config.load import MAX_TOLD, OVERRIDES, ConfigError, load
from config.schema import NodeConfig
from tests.config.samples import BOB, CAROL, OWN, TEXT, own_key, token_text, write_private, write_sample


def test_a_whole_file_is_read_with_its_keys(tmp_path: Path) -> None:
    config = load(write_sample(tmp_path), {})
    assert config.file.node.name == "alice"
    assert config.file.node.listen_port == 51820
    assert [peer.name for peer in config.file.peer] == ["bob", "carol"]
    assert config.private_key == OWN
    assert config.public_key == own_key()
    assert config.relay_credentials is not None
    assert config.relay_credentials.secret == Secret(b"relay-demo-secret")
    assert config.relay_credentials.token is None
    assert config.preshared_keys == {}


def test_a_token_becomes_the_payload_of_the_login(tmp_path: Path) -> None:
    write_private(tmp_path / "relay.token", token_text())
    path = write_sample(tmp_path, TEXT.replace('secret_file = "relay.secret"', 'token_file = "relay.token"'))
    credentials = load(path, {}).relay_credentials
    assert credentials is not None
    assert credentials.secret is None
    assert credentials.token == Secret(b"\x01" + b"s" * 32 + b"4102444800")


def test_preshared_keys_and_certificates_are_read(tmp_path: Path) -> None:
    write_private(tmp_path / "bob.psk", base64.b64encode(b"p" * 32).decode())
    (tmp_path / "ca.pem").write_text("-----BEGIN CERTIFICATE-----\n")
    text = TEXT.replace('name = "bob"\n', 'name = "bob"\npreshared_key_file = "bob.psk"\n')
    text = text.replace("[relay]\n", '[relay]\nca_file = "ca.pem"\n')
    config = load(write_sample(tmp_path, text), {})
    assert config.preshared_keys == {BOB: Secret(b"p" * 32)}
    assert config.relay_ca == b"-----BEGIN CERTIFICATE-----\n"
    assert config.signal_ca is None


def test_no_secret_is_in_what_a_configuration_shows_of_itself(tmp_path: Path) -> None:
    shown = repr(load(write_sample(tmp_path), {}))
    assert base64.b64encode(OWN.value).decode() not in shown
    assert repr(OWN.value) not in shown
    assert "relay-demo-secret" not in shown


def test_the_environment_wins(tmp_path: Path) -> None:
    env = {
        "HOMING_NODE_NAME": "other",
        "HOMING_NODE_MTU": "1420",
        "HOMING_RELAY_URLS": "rel://198.51.100.1:80, rel://198.51.100.2:80",
        "HOMING_LOG_JSON": "true",
        "HOMING_NODE_USER": "",
        "HOMING_DEBUG": "1",
        "HOME": "/root",
    }
    file = load(write_sample(tmp_path), env).file
    assert (file.node.name, file.node.mtu, file.log.json) == ("other", 1420, True)
    assert file.relay.urls == ("rel://198.51.100.1:80", "rel://198.51.100.2:80")
    assert file.node.user is None


def test_direct_paths_are_looked_for_unless_switched_off(tmp_path: Path) -> None:
    assert load(write_sample(tmp_path), {}).file.ice.enabled
    text = TEXT + '[stun]\nservers = ["stun.test:3478", "[2001:db8::1]:3478"]\n[ice]\ninterfaces = ["eth0", "wl*"]\n'
    file = load(write_sample(tmp_path, text), {"HOMING_ICE_ENABLED": "false"}).file
    assert file.stun.servers == ("stun.test:3478", "[2001:db8::1]:3478")
    assert (file.ice.enabled, file.ice.interfaces) == (False, ("eth0", "wl*"))


def test_the_environment_may_hold_what_the_file_lacks(tmp_path: Path) -> None:
    path = write_sample(tmp_path, TEXT.replace('[signal]\nurl = "http://203.0.113.1:10000"\n', ""))
    assert load(path, {"HOMING_SIGNAL_URL": "http://hub:80"}).file.signal.url == "http://hub:80"


def test_overrides_cover_every_key_outside_the_peers() -> None:
    assert {"HOMING_NODE_NAME", "HOMING_RELAY_URLS", "HOMING_RUNTIME_CONTROL_PROCESSES"} <= set(OVERRIDES)
    assert not [name for name in OVERRIDES if "PEER" in name]


def mistakes(directory: Path, text: str, env: dict[str, str] | None = None) -> list[str]:
    path = write_sample(directory, text)
    with pytest.raises(ConfigError) as caught:
        load(path, env or {})
    prefix = f"{path}: "
    assert all(mistake.startswith(prefix) for mistake in caught.value.mistakes)
    assert "\n" not in "".join(caught.value.mistakes)
    return [mistake.removeprefix(prefix) for mistake in caught.value.mistakes]


def put(key: str, value: str, section: str = "node") -> str:
    """Return the sample with a key of a section set to this TOML value."""
    return TEXT.replace(f"[{section}]\n", f"[{section}]\n{key} = {value}\n")


def change(old: str, new: str) -> str:
    assert TEXT.count(old) == 1, old
    return TEXT.replace(old, new)


@pytest.mark.parametrize(
    ("text", "mistake"),
    [
        # --- keys ---
        (put("listen_prot", "1"), "node.listen_prot: unknown key; did you mean listen_port?"),
        (
            TEXT + "[log]\nxyzzy = 1\n",
            "log.xyzzy: unknown key; known are level, json",
        ),
        ("nodes = 1\n" + TEXT, "nodes: unknown key; did you mean node?"),
        (change('name = "bob"', 'name = "bob"\nallowed_ip = []'), "peer[bob].allowed_ip: unknown key; did you mean"),
        (change('name = "alice"\n', ""), "node.name: missing; it has no default"),
        (change('url = "http://203.0.113.1:10000"\n', ""), "signal.url: missing; it has no default"),
        (change('name = "bob"\n', ""), "peer[1].name: missing; it has no default"),
        # --- types ---
        (put("mtu", '"1280"'), "node.mtu: expected int, got str"),
        (put("mtu", "true"), "node.mtu: expected int, got bool"),
        (change('["10.77.0.1/24"]', "[1]"), "node.addresses[0]: expected str, got int"),
        (TEXT + "[log]\njson = 1\n", "log.json: expected bool, got int"),
        ("signal = 3\n" + change('[signal]\nurl = "http://203.0.113.1:10000"\n', ""), "signal: int; a table, [signal]"),
        ("peer = 3\n" + TEXT[: TEXT.index("[[peer]]")], "peer: int; tables, each under its own [[peer]]"),
        ("peer = [3]\n" + TEXT[: TEXT.index("[[peer]]")], "peer[1]: int; a table"),
        # --- servers and interfaces for direct paths ---
        (TEXT + '[stun]\nservers = ["stun.example.com"]\n', "stun.servers: number 1: no port; HOST:PORT, most STUN"),
        (TEXT + '[stun]\nservers = ["a:1", "stun:a:2"]\n', "stun.servers: number 2: a URL; HOST:PORT alone"),
        (
            TEXT + '[stun]\nservers = ["a b:1"]\n',
            "stun.servers: number 1: spaces or other characters that a URL has not",
        ),
        (TEXT + '[stun]\nservers = [":1"]\n', "stun.servers: number 1: no valid host; HOST:PORT"),
        (TEXT + '[stun]\nservers = ["a:1", "a:1"]\n', "stun.servers: a:1 twice; once is enough"),
        (TEXT + '[stun]\nservers = ["a:1", "a:2", "a:3", "a:4", "a:5"]\n', "stun.servers: 5 servers; two tell"),
        (TEXT + '[ice]\ninterfaces = ["eth0", "a/b"]\n', "ice.interfaces: number 2: 'a/b'; the name of an interface"),
        # --- values of the node ---
        (change('name = "alice"', 'name = "../x"'), "node.name: '../x'; 1 to 32 letters, digits"),
        (put("mtu", "575"), "node.mtu: 575; 576 to 9000 bytes"),
        (put("mtu", "9001"), "node.mtu: 9001; 576 to 9000 bytes"),
        (put("listen_port", "65536"), "node.listen_port: 65536; 0 to 65535"),
        (put("interface", '"homing-interface"'), "node.interface: 'homing-interface'; 1 to 15 letters"),
        (put("interface", '"a/b"'), "node.interface: 'a/b'; 1 to 15"),
        (put("user", '"nobody-of-that-name"'), "node.user: no user nobody-of-that-name on this machine"),
        (put("run_directory", '"run"'), "node.run_directory: 'run'; an absolute path"),
        (
            put("run_directory", f'"/{"r" * 64}"'),
            "node.run_directory: 71 bytes together with the node's name; at most 70",
        ),
        (change('["10.77.0.1/24"]', "[]"), "node.addresses: no address"),
        (change('["10.77.0.1/24"]', '["10.77.0.1"]'), "node.addresses: '10.77.0.1'; an address with its prefix length"),
        (change('["10.77.0.1/24"]', '["10.77.0.0/24"]'), "node.addresses: 10.77.0.0/24 is the network's own"),
        (change('["10.77.0.1/24"]', '["10.77.0.1/24", "10.77.0.1/32"]'), "node.addresses: 10.77.0.1 twice"),
        (change('["10.77.0.1/24"]', '["127.0.0.1/8"]'), "node.addresses: 127.0.0.1/8 can be no machine's address"),
        (TEXT + "[runtime]\ncontrol_processes = 0\n", "runtime.control_processes: 0; 1 to 16"),
        (TEXT + '[log]\nlevel = "loud"\n', "log.level: 'loud'; one of debug, info, warning, error"),
        (
            TEXT + '[wireguard]\nbackend = "kernel"\n',
            "wireguard.backend: 'kernel' is not supported; \"embedded\" is the only one so far",
        ),
        # --- urls ---
        (change("http://203.0.113.1:10000", "ws://203.0.113.1"), "signal.url: scheme 'ws'; http://HOST:PORT or https:"),
        (change("http://203.0.113.1:10000", "http://203.0.113.1:0"), "signal.url: port 0; 1 to 65535"),
        (change("http://203.0.113.1:10000", "http://h:70000"), "signal.url: not a URL (Port out of range 0-65535)"),
        (change("http://203.0.113.1:10000", "http://h:1/x"), "signal.url: something after the port"),
        (change("http://203.0.113.1:10000", "http://u:hunter2@h:1"), "signal.url: a user or password in the URL"),
        (change("http://203.0.113.1:10000", "http://203.0.113.999"), "signal.url: no valid host"),
        (change("http://203.0.113.1:10000", "http://:1"), "signal.url: no valid host"),
        (
            change("rel://203.0.113.1:8080", "http://203.0.113.1"),
            "relay.urls: number 1: scheme 'http'; rel://HOST:PORT",
        ),
        (put("transport", '"tcp"', "relay"), "relay.transport: 'tcp'; one of auto, ws, quic"),
        (
            put("transport", '"quic"', "relay"),
            'relay.transport: "quic" with rel://203.0.113.1:8080, whose certificate nothing vouches for; relay.finger',
        ),
        (
            put("fingerprints", '["sha256:12"]', "relay"),
            "relay.fingerprints: number 1: 'sha256:12'; \"sha256:\" and 64",
        ),
        (put("fingerprints", f'["md5:{"a" * 64}"]', "relay"), "relay.fingerprints: number 1: 'md5:aaa"),
        (
            put("fingerprints", f'["sha256:{"ab" * 32}", "sha256:{":".join(["AB"] * 32)}"]', "relay"),
            "relay.fingerprints: number 2: sha256:AB:AB:AB:AB:A... twice; once is enough",
        ),
        (
            put("fingerprints", str([f"sha256:{number:064x}" for number in range(17)]), "relay"),
            "relay.fingerprints: 17 fingerprints; at most 16 would do",
        ),
        (change('secret_file = "relay.secret"\n', ""), "relay.urls: given without a way to log in"),
        (put("token_file", '"relay.token"', "relay"), "relay.token_file: given together with relay.secret_file"),
        # --- peers ---
        (change(BOB, "AAAA"), "peer[bob].public_key: 3 bytes; a key has 32"),
        (change(BOB, "?" * 44), "peer[bob].public_key: 44 characters that are not base64; a key is 44 characters"),
        (change(BOB, "A" * 43 + "="), "peer[bob].public_key: 32 zero bytes"),
        (change(BOB, own_key()), "peer[bob].public_key: this node's own key"),
        (change(CAROL, BOB), "peer[carol].public_key: the same key as peer bob"),
        (change('name = "carol"', 'name = "bob"'), "peer[2].name: 'bob' twice"),
        (change("10.77.0.2/32", "10.77.0.2/33"), "peer[bob].allowed_ips: '10.77.0.2/33'; a prefix such as"),
        (
            change("10.77.0.2/32", "10.77.0.2/24"),
            "peer[bob].allowed_ips: 10.77.0.2/24 has bits beyond its prefix length; 10.77.0.0/24 or 10.77.0.2/32",
        ),
        (change('["10.77.0.2/32"]', "[]"), "peer[bob].allowed_ips: no prefix"),
        (change("10.77.0.2/32", "10.77.0.1/32"), "peer[bob].allowed_ips: 10.77.0.1/32 is this node's own address"),
        (
            change("10.77.0.2/32", "192.168.0.0/16"),
            "peer[carol].allowed_ips: 192.168.3.0/24 overlaps 192.168.0.0/16 of peer bob",
        ),
        (change('name = "bob"', 'name = "bob"\npersistent_keepalive = -1'), "peer[bob].persistent_keepalive: -1; 0 to"),
        # --- the way to the servers ---
        (
            change("10.77.0.2/32", "203.0.113.0/24"),
            "peer[bob].allowed_ips: 203.0.113.0/24 holds 203.0.113.1, the server of signal.url",
        ),
        (
            change("rel://203.0.113.1:8080", "rel://10.77.0.9:8080"),
            "node.addresses: 10.77.0.0/24 holds 10.77.0.9, the server of relay.urls[0]",
        ),
        (
            TEXT + '[stun]\nservers = ["[fd77::1]:3478", "10.77.0.9:3478"]\n',
            "node.addresses: 10.77.0.0/24 holds 10.77.0.9, the server of stun.servers[1]",
        ),
        (
            change('["10.77.0.1/24"]', '["fd77::1/64"]').replace("[node]", "[node]\nmtu = 1000"),
            "node.mtu: 1000; with IPv6 inside the tunnel at least 1280 bytes",
        ),
    ],
)
def test_a_mistake_names_its_key_and_what_would_do(tmp_path: Path, text: str, mistake: str) -> None:
    found = mistakes(tmp_path, text)
    assert any(one.startswith(mistake) for one in found), found


def test_all_mistakes_are_told_at_once(tmp_path: Path) -> None:
    text = (
        change('name = "alice"', 'name = "no spaces"')
        .replace("[node]", '[node]\nmtu = 1\nlisten_port = "a"')
        .replace("[relay]", "[relay]\nsecret = 1")
        .replace(CAROL, BOB)
    )
    found = mistakes(tmp_path, text)
    assert [one.split(":")[0] for one in found] == ["node.name", "node.listen_port", "node.mtu", "relay.secret"]
    found = mistakes(tmp_path, text.replace('listen_port = "a"', ""))
    assert [one.split(":")[0] for one in found] == ["node.name", "node.mtu", "relay.secret", "peer[carol].public_key"]


def test_very_many_mistakes_are_counted(tmp_path: Path) -> None:
    path = write_sample(tmp_path, TEXT + "".join(f"[section{index}]\n" for index in range(50)))
    with pytest.raises(ConfigError) as caught:
        load(path, {})
    assert len(caught.value.mistakes) == MAX_TOLD + 1
    assert caught.value.mistakes[-1] == "and 30 more mistakes"


def test_overlaps_are_found_through_prefixes_in_between(tmp_path: Path) -> None:
    text = change('["10.77.0.2/32"]', '["172.16.0.0/12", "172.20.0.0/16"]').replace("192.168.3.0/24", "172.20.3.0/24")
    (found,) = mistakes(tmp_path, text)
    assert "172.20.3.0/24 overlaps 172.16.0.0/12 of peer bob" in found


def test_prefixes_of_one_peer_may_lie_in_each_other(tmp_path: Path) -> None:
    text = change('["10.77.0.2/32"]', '["172.16.0.0/12", "172.20.0.0/16"]')
    assert load(write_sample(tmp_path, text), {}).file.peer[0].allowed_ips == ("172.16.0.0/12", "172.20.0.0/16")


@pytest.mark.parametrize(
    ("env", "mistake"),
    [
        ({"HOMING_NODE_MTU": "big"}, "HOMING_NODE_MTU: expected int, got str"),
        ({"HOMING_NODE_MTU": "1"}, "HOMING_NODE_MTU: 1; 576 to 9000 bytes"),
        ({"HOMING_RELAY_URL": "rel://h:1"}, "HOMING_RELAY_URL: no such override; did you mean HOMING_RELAY_URLS?"),
        ({"HOMING_LOG_JSON": "perhaps"}, "HOMING_LOG_JSON: expected bool, got str"),
    ],
)
def test_a_mistake_in_the_environment_names_the_variable(tmp_path: Path, env: dict[str, str], mistake: str) -> None:
    assert mistake in mistakes(tmp_path, TEXT, env)


def test_a_key_in_place_of_its_file_is_not_repeated(tmp_path: Path) -> None:
    key = base64.b64encode(OWN.value).decode()
    for text in (change('"alice.key"', f'"{key}"'), change('name = "alice"', f'name = "{key}"')):
        found = mistakes(tmp_path, text)
        assert found
        assert key not in "".join(found)


def test_a_certificate_file_without_a_certificate(tmp_path: Path) -> None:
    (tmp_path / "ca.pem").write_text("hello")
    (found,) = mistakes(tmp_path, put("ca_file", '"ca.pem"', "signal"))
    assert found.startswith(f"signal.ca_file: {tmp_path / 'ca.pem'}: no certificate in it")


@pytest.mark.parametrize(
    ("content", "mistake"),
    [
        (b"[node\n", "not TOML: "),
        (b"a = \xff", "byte 4 is not UTF-8"),
        (b"a = " + b"[" * 5000, "not TOML: nested too deeply"),
        (b"a = 1" + b"0" * 5000, "not TOML: "),
        (b"d = 2020-13-01", "not TOML: "),
        (b"#" * ((4 << 20) + 1), "more than 4194304 bytes"),
    ],
)
def test_a_file_that_is_no_toml(tmp_path: Path, content: bytes, mistake: str) -> None:
    path = tmp_path / "broken.toml"
    path.write_bytes(content)
    with pytest.raises(ConfigError) as caught:
        load(path, {})
    (found,) = caught.value.mistakes
    assert found.startswith(f"{path}: {mistake}")


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"nothing\.toml: no such file; .*example\.toml"):
        load(tmp_path / "nothing.toml", {})
    with pytest.raises(ConfigError, match="not a regular file"):
        load(tmp_path, {})


# --- fuzz ---


def loaded(path: Path, text: str, env: dict[str, str]) -> NodeConfig | None:
    """Load, and let nothing pass but ConfigError, which must have something to say."""
    path.write_bytes(text.encode("utf-8", "surrogatepass"))
    try:
        return load(path, env)
    except ConfigError as error:
        said = error.mistakes
    assert said
    assert all(one.isprintable() for one in said)
    return None


@pytest.fixture(scope="module")
def sample(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_sample(tmp_path_factory.mktemp("fuzz"))


TOMLISH = st.text(alphabet="[]{}\"'=.,#\n\\ abnode01-:_eTZ\x00é\ud800", max_size=200)


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(text=TOMLISH)
@example("a = 0x" + "f" * 4000)
@example("a = 1e999999")
def test_any_text_is_read_or_refused(sample: Path, text: str) -> None:
    assert loaded(sample, text, {}) is None


SCALARS = st.one_of(
    st.text(max_size=60).map(lambda text: '"' + "".join(f"\\U{ord(c):08x}" for c in text if c < "\ud800") + '"'),
    st.integers().map(str),
    st.floats(allow_nan=False, allow_infinity=False).map(repr),
    st.sampled_from(["true", "inf", "-nan", "2020-01-01", "12:00:00", "2020-01-01T00:00:00Z", "{}", "[]", "[[1]]"]),
    st.sampled_from(['"::/0"', '"0.0.0.0/0"', '"fe80::1%eth0/64"', '"http://[::1"', '"rel://a:b"', '"/"', '"."', '""']),
    st.sampled_from([f'"{BOB}"', '"alice.key"', '"relay.secret"', '"../"', '"/dev/zero"', '"/proc/self/mem"']),
)
VALUES = SCALARS | st.lists(SCALARS, max_size=4).map(lambda items: f"[{', '.join(items)}]")
LINES = [line.split(" = ")[0] + " = " for line in TEXT.splitlines() if " = " in line]


@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(changes=st.dictionaries(st.integers(0, TEXT.count("\n")), VALUES, min_size=1, max_size=4))
def test_any_value_of_any_key_is_taken_or_refused(sample: Path, changes: dict[int, str]) -> None:
    lines = TEXT.splitlines()
    for number, value in changes.items():
        key = lines[number].split(" = ")[0] if number < len(lines) and " = " in lines[number] else "mtu"
        if number < len(lines):
            lines[number] = f"{key} = {value}"
    loaded(sample, "\n".join(lines), {})


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(env=st.dictionaries(st.sampled_from(sorted(OVERRIDES)), st.text(string.printable + "é\udcff", max_size=40)))
def test_any_environment_is_taken_or_refused(sample: Path, env: dict[str, Any]) -> None:
    loaded(sample, TEXT, {name: value.replace("\0", "") for name, value in env.items()})
