"""Pages are read and written by several processes: jupyter-book has no option for that."""

import os

# They say nothing of processes. One numbers chapters, which are not numbered here, the other prints books.
UNSAID = ("sphinx_multitoc_numbering", "sphinx_jupyterbook_latex")


def setup(app):
    app.parallel = 2 * (os.cpu_count() or 1)  # some pages take much longer than others, and one process waits
    app.connect("builder-inited", allow)
    app.connect("env-before-read-docs", deal)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}


def allow(app):
    for name in app.extensions.keys() & set(UNSAID):
        app.extensions[name].parallel_read_safe = True


def deal(app, env, docnames):
    """Deal the pages out: of neighbours, such as those of the library, each goes to another process."""
    docnames[:] = [name for first in range(app.parallel) for name in docnames[first :: app.parallel]]
