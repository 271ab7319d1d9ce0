"""Pages are read and written by as many processes as there are cores: jupyter-book has no option for that."""

import os

# They say nothing of processes. One numbers chapters, which are not numbered here, the other prints books.
UNSAID = ("sphinx_multitoc_numbering", "sphinx_jupyterbook_latex")


def setup(app):
    app.parallel = os.cpu_count() or 1
    app.connect("builder-inited", allow)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}


def allow(app):
    for name in app.extensions.keys() & set(UNSAID):
        app.extensions[name].parallel_read_safe = True
