"""The first time that a word of the glossary stands on a page, it is a link that says what it means.

The words and their meanings are those of book/glossary.md, upper and lower case as there. Left alone are
headings, code, links, captions of figures, and the glossary itself.
"""

import re

from docutils import nodes

GLOSSARY = "book/glossary"
ALONE = (nodes.title, nodes.reference, nodes.literal, nodes.literal_block, nodes.raw, nodes.math)


def meanings(doctree) -> dict[str, tuple[str, str]]:
    """Word -> the name of its place on the page, and what it means."""
    found = {}
    for item in doctree.findall(nodes.definition_list_item):
        said = next(item.findall(nodes.definition)).astext().replace("\n", " ")
        found |= {term.astext(): (term["ids"][0], said) for term in item.findall(nodes.term)}
    return found


def told(text: str, words: dict[str, tuple[str, str]], page: str) -> list[nodes.Node]:
    """`text` with a link at the first place of each of `words`, which are taken out of it."""
    found, rest = [], text
    while words and (match := re.search(rf"\b({'|'.join(map(re.escape, words))})\b(?![-\w])", rest)):
        place, said = words[match[0]]
        for word in [word for word, (_, other) in words.items() if other == said]:  # its other forms too
            del words[word]
        link = nodes.reference("", match[0], internal=True, refuri=f"{page}#{place}", reftitle=said)
        link["classes"].append("glossary-word")
        found += [nodes.Text(rest[: match.start()]), link]
        rest = rest[match.end() :]
    return [*found, nodes.Text(rest)] if found else []


def mark(app, doctree, name: str) -> None:
    if name == GLOSSARY or app.builder.format != "html" or GLOSSARY not in app.env.all_docs:
        return
    words = meanings(app.env.get_doctree(GLOSSARY))
    page = app.builder.get_relative_uri(name, GLOSSARY)
    for text in list(doctree.findall(nodes.Text)):
        around, above = text, []
        while around := around.parent:
            above.append(around)
        if any(isinstance(node, ALONE) or "output" in node.get("classes", ()) for node in above):
            continue
        if any(isinstance(node, nodes.paragraph) for node in above) and (new := told(str(text), words, page)):
            text.parent.replace(text, new)


def setup(app):
    app.connect("doctree-resolved", mark)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
