"""The page: whole in one file, nothing in it is markup that should be text, and a browser shows what it should."""

import json
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest

from actors.messages.peer import SendOffer
from actors.trace.page import page
from actors.trace.record import Record
from config.keys import PublicKey
from tests.actors.trace.records import record
from tests.config.samples import BOB, CAROL

EVIL = "<script>document.title='run'</script>"
NAMES: dict[PublicKey, str] = {BOB: EVIL, CAROL: "carol"}
BROWSER = ("chromium", "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage")


def records(count: int) -> list[Record]:
    told = SendOffer(peer=BOB, reason="</script><img src=x onerror=\"document.title='run'\">")
    return [
        record(id=1, to=f"peer/{CAROL}/relay_worker", sender="relays@control-0"),
        record(told, id=2, to=f"peer/{BOB}/offer_listener", sender=f"peer/{BOB}/guard@control-0", kind="dropped"),
        *(record(id=number, to=f"peer/{BOB}/guard", sender="signal@control-0") for number in range(3, count + 1)),
    ]


def test_it_needs_nothing_from_elsewhere() -> None:
    text = page(records(3), NAMES, 0.0, "3 messages")
    assert re.findall(r"(?:src|href|url|import)\s*[=(]", text.split("application/json")[0]) == []
    assert "default-src 'none'" in text
    assert "http" not in text.replace("http-equiv", "")


def test_nothing_that_a_message_says_is_markup() -> None:
    text = page(records(3), NAMES, 0.0, EVIL)
    assert "<img" not in text
    assert text.count("</script>") == 2
    assert "document.title" in text
    island = text.split('id="mail">')[1].split("</script>")[0]
    mail = json.loads(island)
    assert (mail["title"], mail["peers"]) == (EVIL, sorted(NAMES.values()))
    assert mail["rows"][1]["fields"]["reason"].startswith("</script><img")
    assert [mail["lanes"][mail["rows"][1][end]] for end in ("from", "to")] == [
        f"{EVIL}/guard",
        f"{EVIL}/offer_listener",
    ]
    code = Path("actors/trace/page.js").read_text()
    assert [
        word for word in ("innerHTML", "outerHTML", "insertAdjacent", "document.write", "eval(") if word in code
    ] == []


@pytest.mark.interop
def test_a_browser_shows_two_thousand_messages_and_runs_none(tmp_path: Path) -> None:
    dom = browse(tmp_path, records(2000), "")
    assert "<title>homing: mail in sequence</title>" in dom
    assert len(re.findall(r'<div class="row(?: bad)?"', dom)) == 2000
    assert "2000 of 2000 messages" in dom
    assert "&lt;script&gt;document.title='run'&lt;/script&gt;/guard" in dom


@pytest.mark.interop
@pytest.mark.parametrize(
    ("field", "value", "left"),
    [("peer", "carol", 1), ("type", "send_offer", 1), ("actor", f"{EVIL}/guard", 19), ("text", "ONERROR", 1)],
)
def test_filters_hold_and_a_click_shows_the_fields(tmp_path: Path, field: str, value: str, left: int) -> None:
    do = f"""
      const field = document.getElementById({json.dumps(field)});
      field.value = {json.dumps(value).replace("<", chr(92) + "u003c")};
      field.dispatchEvent(new Event(field.tagName === "SELECT" ? "change" : "input"));
      document.querySelector(".row").click();
      document.getElementById("larger").click();
    """
    dom = browse(tmp_path, records(20), do)
    assert f"{left} of 20 messages" in dom
    assert '<aside id="detail">' in dom
    assert re.search(r"<h2>(send_offer|relayed_opened)</h2>", dom)
    assert "--zoom: 1.25" in dom


def browse(directory: Path, shown: list[Record], do: str) -> str:
    """Return the page as the browser has it, after its code and `do` have run."""
    file = directory / "page.html"
    text = page(shown, NAMES, 0.0, "a tape").replace("</body>", f"<script>{do}</script></body>")
    file.write_text(text)
    done: Any = subprocess.run(
        [*BROWSER, f"--user-data-dir={directory}/profile", "--dump-dom", f"file://{file}"],
        capture_output=True, text=True, timeout=60, check=True,
    )  # fmt: skip
    return str(done.stdout)
