"""What is told of a page elsewhere: in lists of results, below a link that is passed on, on a browser's tab.

A page's description is its first paragraph, its numbers filled in, cut at a word; its picture is the book's
main figure. Left out on purpose: an absolute address, because the book is read from any folder; services that
insist on one show no picture.
"""

import re
import shutil
from html import escape, unescape
from pathlib import Path

from docutils import nodes

MOST = 160  # letters of a description, as search engines show them
UNTITLED = {"genindex": "Index", "py-modindex": "Python Module Index", "search": "Search"}  # Sphinx's own
PICTURE = Path("figures", "ext-distances.png")


def cut(text: str, most: int = MOST) -> str:
    """`text` in one line of at most `most` letters, cut behind a word."""
    text = " ".join(text.split())
    if len(text) <= most:
        return text
    kept = text[:most].rpartition(" ")[0] or text[: most - 1]
    return kept.rstrip(" ,;:.(–-") + "…"


def plain(paragraph: nodes.Element) -> str:
    """What a reader sees of a paragraph, without a label in front ("**In short.** …")."""
    parts = [part for part in paragraph.children if part.astext()]
    if parts and isinstance(parts[0], nodes.strong) and parts[0].astext().endswith("."):
        del parts[0]
    texts = [text for part in parts for text in part.findall(nodes.Text)]
    return "".join(str(text) for text in texts if not isinstance(text.parent, nodes.raw))


def described(doctree: nodes.document | None) -> str:
    """The first paragraph of a page's text, else the first anywhere on it, or nothing."""
    paragraphs = list(doctree.findall(nodes.paragraph)) if doctree is not None else []
    text = [one for one in paragraphs if isinstance(one.parent, (nodes.section, nodes.document))]
    return cut(next(filter(str.strip, map(plain, [*text, *paragraphs])), ""))


def tags(title: str, description: str, picture: str | None) -> str:
    said = {"name": {"description": description}, "property": {"og:title": title, "og:type": "article"}}
    said["property"] |= {"og:description": description, "og:image": picture}
    return "".join(
        f'\n    <meta {kind}="{key}" content="{escape(value)}" />'
        for kind, values in said.items()
        for key, value in values.items()
        if value
    )


def tell(app, page: str, template: str, context: dict, doctree) -> None:
    title = UNTITLED.get(page) or unescape(re.sub(r"<[^>]+>", "", context.get("title") or page))
    description = described(doctree) or cut(f"{title} of the book “{app.config.html_title}”")
    there = Path(app.srcdir, PICTURE).is_file()
    picture = context["pathto"](f"{app.builder.imagedir}/{PICTURE.name}", resource=True) if there else None
    context["metatags"] = context.get("metatags", "") + tags(title, description, picture)


def front(app) -> str:
    """The page at the site's own address, which leads to the first one: a link to it tells the same."""
    first = app.builder.get_target_uri(app.config.root_doc)
    text = Path(app.outdir, first).read_text(encoding="utf-8")
    told = re.findall(
        r'<title>.+</title>|<meta (?:name="description"|property="og:).+?/>|<link rel="icon".+?/>', text
    )
    root = "../" * first.count("/")
    told.append(f'<meta http-equiv="Refresh" content="0; url={first}" />')
    head = "\n".join(tag.replace(f'"{root}_', '"_') for tag in told)
    body = f'<a href="{first}">{escape(app.config.html_title)}</a>'
    return (
        f'<!DOCTYPE html>\n<html lang="en">\n<meta charset="utf-8" />\n{head}\n<body>{body}</body>\n</html>\n'
    )


def finish(app, exception) -> None:
    if exception is not None or app.builder.format != "html":
        return
    source, target = Path(app.srcdir, PICTURE), Path(app.outdir, app.builder.imagedir)
    if source.is_file():
        target.mkdir(exist_ok=True)
        shutil.copyfile(source, target / source.name)
    if app.config.root_doc != "index":
        Path(app.outdir, "index.html").write_text(front(app), encoding="utf-8")


def setup(app):
    app.connect("html-page-context", tell)
    app.connect("build-finished", finish)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
