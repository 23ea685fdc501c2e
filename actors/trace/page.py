"""A sequence diagram as one file to share: a page that needs no network, with the mail in it as data.

The page's code and style are beside this file (page.js, page.css).  Names and fields are never markup: they lie in a
JSON island in which `<` is written as an escape, and the code puts them into the page as text.
"""

from collections.abc import Sequence
from importlib.resources import files
from typing import Any

import msgspec

from actors.trace.record import FLAG_TIMER, Record, fields_of
from actors.trace.render import Names, clock_time, fields_text, plain
from actors.trace.sequence import ends, lanes_of

MAX_TEXT_LEN = 120
PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy"
 content="default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>homing: mail in sequence</title>
<style>
{style}</style>
</head>
<body>
<header>
<strong id="title"></strong>
<label>actor <select id="actor"><option value="">all</option></select></label>
<label>type <select id="type"><option value="">all</option></select></label>
<label>peer <select id="peer"><option value="">all</option></select></label>
<label>text <input id="text" type="search" placeholder="in any field" size="14"></label>
<span class="zoom"><button id="smaller" title="smaller">-</button><button id="larger" title="larger">+</button></span>
<span id="count"></span>
</header>
<main><div id="board"><div id="lanes"></div><div id="rows"></div></div></main>
<aside id="detail" hidden><button id="close" title="close">x</button><h2></h2><table></table></aside>
<script type="application/json" id="mail">{mail}</script>
<script>
{code}</script>
</body>
</html>
"""


def page(records: Sequence[Record], names: Names, wall_offset_s: float, title: str) -> str:
    """Return the page of these records, in their order."""
    lanes = lanes_of(records, names)
    number = {lane: place for place, lane in enumerate(lanes)}
    mail = {
        "title": title,
        "lanes": lanes,
        "peers": sorted(set(names.values())),
        "rows": [_row(record, names, wall_offset_s, number) for record in records],
    }
    here = files("actors.trace")
    style, code = ((here / name).read_text("utf-8") for name in ("page.css", "page.js"))
    return PAGE.replace("{style}", style).replace("{code}", code).replace("{mail}", _island(mail))


def _row(record: Record, names: Names, wall_offset_s: float, number: dict[str, int]) -> dict[str, Any]:
    sender, receiver = ends(record, names)
    return {
        "from": number[sender],
        "to": number[receiver],
        "time": clock_time(record.at + wall_offset_s),
        "type": record.tag or "(undecodable)",
        "text": fields_text(record, names)[:MAX_TEXT_LEN],
        "kind": record.kind,
        "timer": bool(record.flags & FLAG_TIMER),
        "peers": _peers(record, names),
        "before": record.before,
        "after": record.after,
        "reason": record.reason,
        "id": str(record.id),  # longer than JavaScript's numbers
        "cause": str(record.cause) if record.cause else "",
        "process": record.process,
        "ms": round(1000 * record.service_s, 3),
        "fields": {name: plain(value) for name, value in fields_of(record).items()},
    }


def _peers(record: Record, names: Names) -> list[str]:
    """Return the names of the peers that a record is about."""
    told = f"{record.to} {record.sender} {record.body.decode('latin-1')}"
    return [name for key, name in names.items() if key in told]


def _island(mail: dict[str, Any]) -> str:
    """Return JSON that can stand in a script element: nothing in it ends that, or begins a comment."""
    text = msgspec.json.encode(mail).decode()
    for character in "<>&\u2028\u2029":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return text
