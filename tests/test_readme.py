"""README's table of the paper's figures is the page's, with links that a repository's reader can follow."""

import re

from posttrain.config import ROOT

LINKS = {  # roles of the page -> links from the repository's folder
    r"\{doc\}`/notebooks/([a-z-]+)`": r"[\1](notebooks/\1.ipynb)",
    r"\{doc\}`play`": "[play](book/play.md)",
    r"\(\{doc\}`[^`]*`\)": "",
}


def table() -> str:
    """The table of book/paper-figures.md as README has it."""
    page = (ROOT / "book" / "paper-figures.md").read_text()
    rows = [line for line in page.splitlines() if line.startswith("|")]
    text = "\n".join(rows)
    for role, link in LINKS.items():
        text = re.sub(role, link, text)
    return re.sub(" +", " ", text).replace(" ;", ";").replace(" |", " |")


def test_readme_has_the_table_of_the_page():
    assert table() in (ROOT / "README.md").read_text(), f"README.md should hold:\n{table()}"


def test_the_table_has_a_row_for_each_of_the_21_figures_and_its_links_lead_somewhere():
    numbers = re.findall(r"^\| (\d+) \|", table(), flags=re.M)
    assert numbers == [str(number) for number in range(1, 22)]
    linked = re.findall(r"\]\(([^)]+)\)", table())
    assert linked and all((ROOT / path).is_file() for path in linked) and "{doc}" not in table()
