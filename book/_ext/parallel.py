"""Pages are read and written by several processes: jupyter-book has no option for that.

What holds up the one process that all wait for is left out: numbers of figures, for which every page would be
read once more, and a search through all installed packages at every citation.
"""

import os

from pybtex.backends import plaintext
from pybtex.plugin import register_plugin

# They say nothing of processes. One numbers chapters, which are not numbered here, the other prints books.
UNSAID = ("sphinx_multitoc_numbering", "sphinx_jupyterbook_latex")


def setup(app):
    app.parallel = 2 * (os.cpu_count() or 1)  # some pages take much longer than others, and one process waits
    # What is registered is found at once.
    register_plugin("pybtex.backends", "plaintext", plaintext.Backend, force=True)
    app.connect("builder-inited", allow)
    app.connect("env-before-read-docs", deal)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}


def allow(app):
    app.config["numfig"] = False  # jupyter-book's extensions insist on it
    for name in app.extensions.keys() & set(UNSAID):
        app.extensions[name].parallel_read_safe = True


def deal(app, env, docnames):
    """Deal the pages out: of neighbours, such as those of the library, each goes to another process."""
    docnames[:] = [name for first in range(app.parallel) for name in docnames[first :: app.parallel]]
