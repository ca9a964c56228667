"""The report as one HTML page: light and dark, for print too, and without anything from another file or server."""

import base64
import re
from itertools import pairwise
from mimetypes import guess_type
from pathlib import Path
from urllib.parse import unquote

from markdown_it.token import Token

from decant.reporting.html_document import html_document
from decant.reporting.markdown_tokens import parser, picture_file, plain_text
from decant.reporting.report import APPENDIX

ANCHOR = "appendix"  # where the page has what APPENDIX.md has
STYLE = """
:root { color-scheme: light dark; --ink: #1b1f24; --soft: #59636e; --paper: #fff; --line: #d0d7de; --head: #0b4f7d;
  --stripe: #f6f8fa; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6edf3; --soft: #9198a1; --paper: #0d1117; --line: #3d444d;
  --head: #7cc4f5; --stripe: #161b22; } }
* { box-sizing: border-box; }
body { font: 16px/1.55 system-ui, sans-serif; color: var(--ink); background: var(--paper); margin: 0 auto;
  max-width: 62rem; padding: 1.5rem 1rem 4rem; overflow-wrap: break-word; }
h1 { line-height: 1.2; } h2 { color: var(--head); margin-top: 2.2rem; border-bottom: 1px solid var(--line); }
nav { font-size: .9rem; color: var(--soft); } nav a { margin-right: .9rem; display: inline-block; }
a { color: var(--head); }
.scroll { overflow-x: auto; margin: 1rem 0; }
table { border-collapse: collapse; font-size: .88rem; }
th, td { padding: .25rem .6rem; border-bottom: 1px solid var(--line); vertical-align: top; text-align: left; }
th { border-bottom: 2px solid var(--line); } tbody tr:nth-child(even) { background: var(--stripe); }
.right { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
.pictures { display: grid; gap: 1rem; grid-template-columns: repeat(auto-fit, minmax(min(19rem, 100%), 1fr));
  margin: 1rem 0; }
figure { margin: 0 auto; width: 100%; max-width: 44rem; break-inside: avoid; }
figcaption { font-size: .85rem; color: var(--soft); text-align: center; }
figure > img { display: block; width: 100%; height: auto; max-height: 34rem; margin: auto; background: #fff;
  border-radius: .4rem; object-fit: contain; }
code { font-size: .88em; background: var(--stripe); padding: 0 .25em; border-radius: .25em; }
@media print { :root { --ink: #000; --soft: #333; --paper: #fff; --line: #bbb; --head: #0b4f7d; --stripe: #f6f8fa; }
  body { font-size: 9.5pt; line-height: 1.35; max-width: none; padding: 0; } nav { display: none; }
  h2 { margin-top: 1rem; } .scroll { overflow: visible; } table { font-size: 7.4pt; } th, td { padding: .1rem .3rem; }
  tr { break-inside: avoid; }
  h2 { break-after: avoid; } .pictures { grid-template-columns: repeat(auto-fit, minmax(6cm, 1fr)); }
  figure > img { max-height: 7cm; } .appendix { break-before: page; } }
"""


def html_page(report: str, appendix: str, folder: Path, vectors: dict[str, Path]) -> str:
    """The page as HTML.

    folder: where the files are that the Markdown links; images are put into the page, other
        files are named.
    vectors: path in the Markdown -> the figure as SVG.
    """
    title = plain_text(parser().parse(report)[1])
    inside = _Inlined(folder, vectors)
    body, more = inside.html(report), inside.html(appendix)
    headings = re.findall(r'<h2 id="([^"]+)">(.*?)</h2>', body)
    links = "".join(f'<a href="#{anchor}">{text}</a>' for anchor, text in headings)
    return html_document(
        title,
        STYLE,
        f'<nav aria-label="sections">{links}<a href="#{ANCHOR}">Appendix</a></nav>',
        f"<main>{body}</main>",
        f'<section class="appendix" id="{ANCHOR}">{more}</section>',
    )


class _Inlined:
    """Markdown to HTML with the images inside."""

    def __init__(self, folder: Path, vectors: dict[str, Path]) -> None:
        self.folder, self.vectors = folder, vectors

    def html(self, markdown: str) -> str:
        markdown_it = parser()
        tokens = markdown_it.parse(markdown)
        for token in tokens:
            without_styles_and_file_links(token)
        text = str(markdown_it.renderer.render(_with_anchors(tokens), markdown_it.options, {}))
        text = text.replace("<table>", '<div class="scroll"><table>').replace("</table>", "</table></div>")
        text = re.sub(
            r'<div class="scroll"><table>\s*<thead>\s*<tr>((?:(?!</table>).)*?<img.*?)</table></div>',
            _pictures,
            text,
            flags=re.S,
        )
        text = re.sub(r"<p>(<img [^>]*>)</p>", lambda found: f'<div class="pictures">{_figure(found[1])}</div>', text)
        return re.sub(r'<img src="([^"]*)" alt="([^"]*)" ?/?>', self._image, text)

    def _image(self, found: re.Match[str]) -> str:
        """The image as SVG inside the page, or as a data URI."""
        caption = found[2]
        source = picture_file(unquote(found[1]), self.folder, self.vectors)
        if source is None:
            return f"<em>{caption}: not here</em>"
        kind = guess_type(source.name)[0]
        data = base64.b64encode(source.read_bytes()).decode("ascii")
        return f'<img src="data:{kind};base64,{data}" alt="{caption}">'


def without_styles_and_file_links(token: Token) -> None:
    """Give right-aligned cells a class in place of a style, and links to files a form that needs no file.

    The appendix is a place in the page. A link to another file, without which the page may have been sent, becomes its
    text and the file's path.
    """
    if token.type in ("th_open", "td_open"):
        token.attrs = {"class": "right"} if "right" in str(token.attrs.pop("style", "")) else {}
    children, position = token.children or [], 0
    while position < len(children):
        if children[position].type == "link_open":
            end = next(at for at in range(position, len(children)) if children[at].type == "link_close")
            shown = _link(children[position : end + 1])
            children[position : end + 1] = shown
            position += len(shown)
        else:
            position += 1


def _link(link: list[Token]) -> list[Token]:
    """The tokens of a link as the page shows it."""
    target = unquote(str(link[0].attrs["href"]))
    if target == APPENDIX:
        link[0].attrs["href"] = f"#{ANCHOR}"
    if target == APPENDIX or "://" in target:
        return link
    text = "".join(child.content for child in link)
    path = Token("code_inline", "code", 0, content=target)
    return [path] if text == target else [*link[1:-1], _text(" ("), path, _text(")")]


def _text(content: str) -> Token:
    return Token("text", "", 0, content=content)


def _with_anchors(tokens: list[Token]) -> list[Token]:
    for opened, inline in pairwise(tokens):
        if opened.type == "heading_open" and opened.tag == "h2":
            opened.attrs["id"] = re.sub(r"\W+", "-", plain_text(inline).lower()).strip("-")
    return tokens


def _pictures(found: re.Match[str]) -> str:
    """A table of images as figures with captions."""
    images = re.findall(r"<img [^>]*>", found[0])
    return f'<div class="pictures">{"".join(map(_figure, images))}</div>'


def _figure(image: str) -> str:
    caption = re.search(r'alt="([^"]*)"', image)
    return f"<figure>{image}<figcaption>{caption[1] if caption else ''}</figcaption></figure>"
