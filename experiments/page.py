"""A report as one HTML file: text from Markdown, figures inside, readable on paper and without a network."""

from __future__ import annotations

import base64
import html
import io
from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_STYLE = """
:root { color-scheme: light dark; --text: #1b1b1b; --paper: #fff; --line: #ddd; --head: #888; --code: #f3f3f3; }
@media screen and (prefers-color-scheme: dark) {
  :root { --text: #e4e4e4; --paper: #16181b; --line: #3a3d42; --head: #777; --code: #26292e; }
}
body { font: 16px/1.5 system-ui, sans-serif; color: var(--text); background: var(--paper);
       max-width: 60rem; margin: 2rem auto; padding: 0 1rem; }
h1, h2 { line-height: 1.2; }
table { display: block; width: fit-content; max-width: 100%; overflow-x: auto;
        border-collapse: collapse; margin: 1rem 0; font-size: 0.9rem; }
th, td { padding: 0.3rem 0.7rem; border-bottom: 1px solid var(--line); text-align: left;
         font-variant-numeric: tabular-nums; }
th { border-bottom: 2px solid var(--head); }
code { background: var(--code); padding: 0.1em 0.3em; }
pre { background: var(--code); padding: 0.6rem; overflow-x: auto; }
pre code { padding: 0; }
img { max-width: 100%; height: auto; background: #fff; border-radius: 4px; }
figure { margin: 1.5rem 0; break-inside: avoid; }
@media screen and (min-width: 40rem) {
  tr:has(> td:nth-child(3):last-child) > td:not(:last-child) { white-space: nowrap; } /* name, result, detail */
}
@media print {
  body { margin: 0; max-width: none; font-size: 11pt; }
  tr { break-inside: avoid; }
}
"""


_LINKS = (
    *("link", "reference", "short_reference", "image_link", "image_reference", "short_image_ref"),
    *("autolink", "automail"),
)
"""What Markdown's own links and pictures are called by its parser; no report of ours has any."""


def html_page(markdown: str, title: str, figures: Mapping[str, Figure] | None = None) -> str:
    """Write Markdown and figures as one self-contained HTML page.

    Parameters
    ----------
    markdown
        The text; tables are understood. What looks like HTML or a link in it (a name from the user's data) is shown as
        text: the page runs nothing and asks no other machine for anything.
    title
        Of the browser's tab.
    figures
        By caption, in order; they follow the text.
    """
    from markdown import Markdown

    converter = Markdown(extensions=["tables", "fenced_code"])
    converter.preprocessors.deregister("html_block")
    for pattern in ("html", *_LINKS):
        converter.inlinePatterns.deregister(pattern)
    body = converter.convert(markdown)
    shown = "".join(
        f'<figure><img src="data:image/png;base64,{_png(figure)}" alt="{html.escape(caption, quote=True)}">'
        f"<figcaption>{html.escape(caption)}</figcaption></figure>\n"
        for caption, figure in (figures or {}).items()
    )
    return (
        f'<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta name="viewport" content="width=device-width, initial-scale=1">\n<title>{html.escape(title)}</title>\n'
        f"<style>{_STYLE}</style>\n</head>\n<body>\n{body}\n{shown}</body>\n</html>\n"
    )


def _png(figure: Figure) -> str:
    file = io.BytesIO()
    figure.savefig(file, format="png", dpi=110)
    return base64.b64encode(file.getvalue()).decode("ascii")
