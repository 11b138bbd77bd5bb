"""Hands for the Playground in a browser: what is pressed there, and what a bad model may say."""

import json
from typing import Any

from tests import kit
from tests.bsod.chromium import Page
from tests.kit import Site, Supply
from tests.upstream import FaultServer, sse_frame

PIXEL = (
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk"
    "+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)
# Whatever can be pressed and is too small for a finger.
SMALL = """[...document.querySelectorAll('a, button, input, select, summary, [role=option]')]
  .filter(e => e.checkVisibility({visibilityProperty: true}))
  .filter(e => !e.closest('.skip, p:not(.actions)'))
  .map(e => [e, Math.max(e.getBoundingClientRect().height,
     parseFloat(getComputedStyle(e, '::after').height) || 0,
     e.closest('label')?.getBoundingClientRect().height ?? 0)])
  .filter(([e, height]) => height < 43.5).map(([e]) => e.outerHTML.slice(0, 90))"""
# What a model's words may become, and nothing else.
SAFE = {
    "A", "BLOCKQUOTE", "BR", "BUTTON", "CODE", "DEL", "DIV", "EM", "H2", "H3", "HR", "I",
    "LI", "OL", "P", "PRE", "SPAN", "STRONG", "TABLE", "TBODY", "TD", "TH", "THEAD", "TR", "UL",
}  # fmt: skip
# A model that wants more than to be read.
EVIL = """
<script>window.hacked = 1</script><img src=x onerror="window.hacked=2"> text <svg onload=hacked=3>
<iframe srcdoc="<script>parent.hacked=4</script>"></iframe>
<meta http-equiv="refresh" content="0;url=https://evil.example/"><base href="https://evil.example/">
<form action="/logout/" id="play"><input name="csrfmiddlewaretoken"><button>Press</button></form>
<style>body { display: none }</style><link rel=stylesheet href="https://evil.example/a.css">
<math><mtext><table><mglyph><style><!--</style>
<img title="--&gt;&lt;img src=1 onerror=hacked=5&gt;">

[one](javascript:window.hacked=6) [two](data:text/html,<script>hacked=7</script>)
[three](JaVaScRiPt:hacked=8) [four](&#106;avascript:hacked=9) [five](/account/delete/)
[six](vbscript:hacked=10) [seven](https://elsewhere.example/?q=1 "title\\" onmouseover=hacked=11")
![pixel](https://evil.example/pixel.png) ![inline](data:image/svg+xml,<svg onload=hacked=12>)
<https://auto.example/> [ref][r] <a href="javascript:hacked=13" onclick="hacked=14">click</a>

[r]: javascript:hacked=15 "x"

```html" onmouseover="hacked=16
<img src=x onerror=hacked=17>
```

| a<img src=x onerror=hacked=18> | `b` |
|---|---:|
| <b onpointerenter=hacked=19>c</b> | - [x] d |

`<img src=x onerror=hacked=20>` &lt;img src=x onerror=hacked=21&gt; [](javascript:hacked=22)
"""


def until(page: Page, expression: str) -> None:
    shown = "document.querySelector('main').innerText.slice(-900)"
    assert kit.eventually(lambda: page.js(expression), 15), (
        expression, page.problems, page.js(shown)
    )  # fmt: skip


def sit(page: Page, site: Site, supplied: Supply, hash_: str = "") -> None:
    """The page with a model chosen, its catalogue there."""
    page.open(f"{site.url}/playground/?model={supplied.model}{hash_}")
    until(page, "!document.querySelector('#model-a .chip').hidden")


def ask(page: Page, text: str) -> None:
    page.js("document.getElementById('prompt').focus()")
    page.type(text)
    page.press("Enter")


def settled(page: Page, count: int = 1) -> str:
    """The last receipt, once so many answers have theirs."""
    until(page, f"document.querySelectorAll('.answer-acts').length === {count}")
    until(page, "/from|charged/.test([...document.querySelectorAll('.receipt')].pop().innerText)")
    return str(page.js("[...document.querySelectorAll('.receipt')].pop().innerText"))


def drop(page: Page, *files: str) -> None:
    """Files, each what `File` is given, let fall somewhere on the page."""
    made = "".join(f"given.items.add(new File({each}));" for each in files)
    page.js(f"""(() => {{ const given = new DataTransfer(); {made} document.body.dispatchEvent(
      new DragEvent('drop', {{dataTransfer: given, bubbles: true, cancelable: true}})); }})()""")
    until(page, f"document.querySelectorAll('#attached li').length === {len(files)}")


def click(page: Page, selector: str) -> None:
    page.js(f"document.querySelector({json.dumps(selector)}).click()")


def press(page: Page, name: str) -> None:
    """The last button of that name."""
    page.js(
        f"[...document.querySelectorAll('button')].filter(b => (b.ariaLabel ?? b.innerText)"
        f".endsWith({json.dumps(name)}) && b.checkVisibility()).pop().click()"
    )


def frame(text: str) -> bytes:
    choice = {"index": 0, "delta": {"content": text}, "finish_reason": None}
    return sse_frame({"object": "chat.completion.chunk", "choices": [choice]})


def sent(up: FaultServer) -> Any:
    return up.seen[-1].json


def named(event: dict[str, Any]) -> bytes:
    """An event of a Responses stream."""
    return b"event: " + str(event["type"]).encode() + b"\n" + sse_frame(event)
