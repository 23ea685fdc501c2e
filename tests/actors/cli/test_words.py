import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.cli.words import InvalidDuration, duration, parse_duration_s, size


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("60s", 60.0), ("500ms", 0.5), ("2m", 120.0), ("2 min", 120.0), ("1h", 3600.0), ("1d", 86400.0), ("1.5", 1.5)],
)
def test_durations_are_read(text: str, seconds: float) -> None:
    assert parse_duration_s(text) == seconds


@pytest.mark.parametrize("text", ["", "s", "-1s", "1y", "1e5", "nan", "10s extra", "٣s", "9" * 12])
def test_what_is_no_duration_is_refused(text: str) -> None:
    with pytest.raises(InvalidDuration, match="would do"):
        parse_duration_s(text)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.0, "0.00 ms"),
        (-1.0, "0.00 ms"),
        (0.0123, "12.3 ms"),
        (0.9999, "1.0 s"),
        (1.25, "1.2 s"),
        (99.96, "1 min 40 s"),
        (3_599.6, "1 h 0 min"),
        (90_061.0, "1 d 1 h"),
        (float("inf"), "?"),
    ],
)
def test_durations_are_said(seconds: float, text: str) -> None:
    assert duration(seconds) == text


@pytest.mark.parametrize(
    ("count", "text"), [(0, "0 B"), (999, "999 B"), (1000, "1 kB"), (1_234_567, "1.23 MB"), (10**21, "1e+03 EB")]
)
def test_sizes_are_said(count: int, text: str) -> None:
    assert size(count) == text


@given(st.text(max_size=30))
def test_any_text_is_a_duration_or_refused(text: str) -> None:
    try:
        seconds = parse_duration_s(text)
    except InvalidDuration:
        return
    assert seconds >= 0
    assert duration(seconds)
