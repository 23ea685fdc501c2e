"""For how long QUIC is not dialled after its path was too narrow (relay spec 6.4)."""

from transport.relay.fallback import FIRST_S, LONGEST_S, MAX_URLS, FallbackWindows

URL = "rels://relay.example"


def test_windows_double_from_ten_minutes_to_an_hour() -> None:
    windows, now = FallbackWindows(), 1000.0
    assert windows.avoids(URL, now) is None
    for length_s in (FIRST_S, 1200.0, 2400.0, LONGEST_S, LONGEST_S):
        windows.failed(URL, "narrow", now)
        assert windows.avoids(URL, now) == "narrow"
        assert windows.avoids(URL, now + length_s - 1.0) == "narrow"
        assert windows.avoids(URL, now + length_s) is None
        now += length_s


def test_a_failure_inside_a_window_leaves_it_as_it_is() -> None:
    windows = FallbackWindows()
    windows.failed(URL, "first", 0.0)
    windows.failed(URL, "second", 300.0)
    assert windows.avoids(URL, FIRST_S - 1.0) == "first"
    assert windows.avoids(URL, FIRST_S) is None


def test_urls_are_told_apart_as_text_and_bounded() -> None:
    windows = FallbackWindows()
    windows.failed(URL, "narrow", 0.0)
    assert windows.avoids(f"{URL}:443", 0.0) is None
    for number in range(MAX_URLS):
        windows.failed(f"rels://{number}", "narrow", 0.0)
    assert windows.avoids(URL, 0.0) is None
    assert windows.avoids("rels://0", 0.0) == "narrow"
