"""The first time that a word of the glossary stands on a page, it is a link that says what it means.

The words and their meanings are those of book/glossary.md, upper and lower case as there. Left alone are
headings, code, links, captions of figures, and the glossary itself.
"""

import re
from functools import cache

from docutils import nodes

GLOSSARY = "book/glossary"
ALONE = (nodes.title, nodes.reference, nodes.literal, nodes.literal_block, nodes.raw, nodes.math)


@cache
def meanings(env) -> tuple[dict[str, tuple[str, str]], re.Pattern]:
    """Word -> the name of its place on the glossary's page, and what it means; and what finds any of them."""
    found = {}
    for item in env.get_doctree(GLOSSARY).findall(nodes.definition_list_item):
        said = next(item.findall(nodes.definition)).astext().replace("\n", " ")
        found |= {term.astext(): (term["ids"][0], said) for term in item.findall(nodes.term)}
    return found, re.compile(rf"\b({'|'.join(map(re.escape, found))})\b(?![-\w])")


def told(text: str, words: dict[str, tuple[str, str]], any_word: re.Pattern, page: str) -> list[nodes.Node]:
    """`text` with a link at the first place of each of `words`, which are taken out of it."""
    found, end = [], 0
    for match in any_word.finditer(text):
        if match[0] not in words:
            continue
        place, said = words[match[0]]
        for word in [word for word, (_, other) in words.items() if other == said]:  # its other forms too
            del words[word]
        link = nodes.reference("", match[0], internal=True, refuri=f"{page}#{place}", reftitle=said)
        link["classes"].append("glossary-word")
        found += [nodes.Text(text[end : match.start()]), link]
        end = match.end()
    return [*found, nodes.Text(text[end:])] if found else []


def mark(app, doctree, name: str) -> None:
    if name == GLOSSARY or app.builder.format != "html" or GLOSSARY not in app.env.all_docs:
        return
    words, any_word = meanings(app.env)
    words, page = dict(words), app.builder.get_relative_uri(name, GLOSSARY)
    for text in list(doctree.findall(nodes.Text)):
        around, above = text, []
        while around := around.parent:
            above.append(around)
        if any(isinstance(node, ALONE) or "output" in node.get("classes", ()) for node in above):
            continue
        if any(isinstance(node, nodes.paragraph) for node in above):
            if new := told(str(text), words, any_word, page):
                text.parent.replace(text, new)


def setup(app):
    app.connect("doctree-resolved", mark)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
